package profile

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// DecodeRow reads one row of the kind from its JSON form: the fields of the record and, if
// wanted, the flow it belongs to under "flow". A field the record does not have is an error.
func DecodeRow(kind string, line []byte) (*store.Record, error) {
	rec := &store.Record{}
	with := func(v any) error {
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(v); err != nil {
			return fmt.Errorf("read %s row: %w", kind, err)
		}
		return nil
	}
	switch kind {
	case "flow":
		return rec, with(&rec.Flow)
	case "dns":
		v := struct {
			*model.DNS
			Flow *model.Flow `json:"flow"`
		}{&rec.DNS, &rec.Flow}
		return rec, with(&v)
	case "http":
		v := struct {
			*model.HTTP
			Flow *model.Flow `json:"flow"`
		}{&rec.HTTP, &rec.Flow}
		return rec, with(&v)
	case "tls":
		v := struct {
			*model.TLS
			Flow *model.Flow `json:"flow"`
		}{&rec.TLS, &rec.Flow}
		return rec, with(&v)
	case "ssh":
		v := struct {
			*model.SSH
			Flow *model.Flow `json:"flow"`
		}{&rec.SSH, &rec.Flow}
		return rec, with(&v)
	}
	return nil, fmt.Errorf("read row: %q is no kind of row", kind)
}
