package model_test

import (
	"encoding/json"
	"testing"

	"github.com/tracer-framework/tracer/pkg/model"
)

func TestOCSF(t *testing.T) {
	const tail = `,"status_id":1,"metadata":{"version":"1.8.0","product":{"name":"TRACER"}}}`
	for _, c := range []struct {
		name   string
		record any
		want   string
	}{
		{"high", model.Detection{Severity: model.SeverityHigh, Confidence: 91}, `{"activity_id":1,"category_uid":2,"class_uid":2004,"type_uid":200401,"severity_id":4,"confidence_id":3`},
		{"low", &model.Detection{Severity: model.SeverityLow, Confidence: 39}, `{"activity_id":1,"category_uid":2,"class_uid":2004,"type_uid":200401,"severity_id":2,"confidence_id":1`},
		{"of no severity", model.Detection{Confidence: 40}, `{"activity_id":1,"category_uid":2,"class_uid":2004,"type_uid":200401,"severity_id":0,"confidence_id":2`},
		{"stale ids", model.Detection{Severity: model.SeverityCritical, Confidence: 75, OCSF: model.OCSF{ClassUID: 1}}, `{"activity_id":1,"category_uid":2,"class_uid":2004,"type_uid":200401,"severity_id":5,"confidence_id":3`},
		{"opened", model.Case{Stage: model.StageOpened}, `{"activity_id":1,"category_uid":2,"class_uid":2005,"type_uid":200501,"severity_id":0,"confidence_id":0`},
		{"mapped", &model.Case{Stage: model.StageMapped}, `{"activity_id":2,"category_uid":2,"class_uid":2005,"type_uid":200502,"severity_id":0,"confidence_id":0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := json.Marshal(c.record)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				OCSF json.RawMessage `json:"ocsf"`
			}
			if err := json.Unmarshal(b, &got); err != nil || string(got.OCSF) != c.want+tail {
				t.Errorf("%v\ngot  %s\nwant %s", err, got.OCSF, c.want+tail)
			}
		})
	}
}
