package event

import "github.com/tracer-framework/tracer/pkg/model"

// Records is the JSON view of the data of io.tracer.flow.observed.v1 and
// io.tracer.flow.recognized.v1. On the wire the same columns travel as compressed
// ClickHouse Native blocks, one per kind; kinds without rows are left out.
type Records struct {
	Flow     []model.Flow     `json:"flow,omitempty"`
	DNS      []model.DNS      `json:"dns,omitempty"`
	HTTP     []model.HTTP     `json:"http,omitempty"`
	TLS      []model.TLS      `json:"tls,omitempty"`
	SSH      []model.SSH      `json:"ssh,omitempty"`
	Evidence []model.Evidence `json:"evidence,omitempty"`
}
