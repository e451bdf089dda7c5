package event_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tracer-framework/tracer/pkg/event"
	"github.com/tracer-framework/tracer/schemas"
)

// Schema, example and Go type of each event type agree: the example is valid, decodes
// with no field left over, and encodes to the same JSON again.
func TestThreeWitnesses(t *testing.T) {
	for _, typ := range event.Types() {
		if typ.Planned {
			continue
		}
		t.Run(typ.Name, func(t *testing.T) {
			schema, err := event.Compile(typ.Name)
			if err != nil {
				t.Fatal(err)
			}
			src, err := schemas.Events.ReadFile("events/" + typ.Name + "/example.json")
			if err != nil {
				t.Fatalf("no example: %v", err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(src))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Fatalf("example does not validate: %v", err)
			}
			v := reflect.New(typ.DataType())
			dec := json.NewDecoder(bytes.NewReader(src))
			dec.DisallowUnknownFields()
			if err := dec.Decode(v.Interface()); err != nil {
				t.Fatalf("example does not decode into %s: %v", typ.DataType(), err)
			}
			again, err := json.Marshal(v.Interface())
			if err != nil {
				t.Fatal(err)
			}
			if got, want := normal(t, again), normal(t, src); got != want {
				t.Errorf("example changes on the way through %s\n got %s\nwant %s", typ.DataType(), got, want)
			}
		})
	}
}

// The schema of each type refuses a field that it does not name and a lack of any it does.
func TestSchemaIsStrict(t *testing.T) {
	for _, typ := range event.Types() {
		if typ.Planned {
			continue
		}
		schema, err := event.Compile(typ.Name)
		if err != nil {
			t.Fatal(err)
		}
		src, _ := schemas.Events.ReadFile("events/" + typ.Name + "/example.json")
		var doc map[string]any
		if err := json.Unmarshal(src, &doc); err != nil {
			t.Fatal(err)
		}
		doc["unheard_of"] = 1
		if schema.Validate(doc) == nil {
			t.Errorf("%s: a field the schema does not name passes", typ.Name)
		}
		delete(doc, "unheard_of")
		if typ.Bulk {
			continue // kinds without rows are left out
		}
		for key := range doc {
			was := doc[key]
			delete(doc, key)
			if schema.Validate(doc) == nil && key != "run" {
				t.Errorf("%s: passes without %s", typ.Name, key)
			}
			doc[key] = was
		}
	}
}

func TestFoldersMatchCatalogue(t *testing.T) {
	dirs, err := fs.ReadDir(schemas.Events, "events")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if typ, ok := event.Lookup(d.Name()); !ok || typ.Planned {
			t.Errorf("schemas/events/%s has no published type in the catalogue", d.Name())
		}
	}
}

func TestCatalogue(t *testing.T) {
	for _, typ := range event.Types() {
		parts := strings.Split(typ.Name, ".")
		if len(parts) != 5 || parts[0] != "io" || parts[1] != "tracer" {
			t.Fatalf("%s is not io.tracer.<noun>.<verb>.v<major>", typ.Name)
		}
		if want := "tracer.v1." + parts[2] + "." + parts[3]; typ.Subject != want {
			t.Errorf("%s: subject %s, want %s", typ.Name, typ.Subject, want)
		}
		if typ.Noun != parts[2] || typ.Number() == 0 {
			t.Errorf("%s: noun %q stands in no row", typ.Name, typ.Noun)
		}
		if typ.Planned != (typ.Stream == "") || typ.Planned != (typ.DataType() == nil) {
			t.Errorf("%s: a published type needs a stream and a Go type, a planned one has neither", typ.Name)
		}
		if typ.WrittenBy == "" || len(typ.ReadBy) == 0 || typ.Summary == "" {
			t.Errorf("%s: who writes it, who reads it and what it says must be told", typ.Name)
		}
	}
}

func TestTable(t *testing.T) {
	got := event.Table()
	for _, want := range []string{
		"| # | noun | event type | written by | read by |\n|---|---|---|---|---|\n| 1 | evidence | `io.tracer.evidence.sealed.v1` | archive (ledger) | all; report verifies |\n",
		"`io.tracer.flow.observed.v1` (bulk), `io.tracer.flow.recognized.v1` (bulk)",
		"| 6 | case, report | `io.tracer.case.opened.v1`, `io.tracer.case.updated.v1`, `io.tracer.report.issued.v1` | report | people, SIEM |\n",
		"| 8 | validation | `io.tracer.validation.completed.v1` (planned) | validate | report (closes the loop) |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("table lacks %q:\n%s", want, got)
		}
	}
}

// The AsyncAPI document names every subject, message and schema of the catalogue, and
// nothing that the catalogue does not have.
func TestAsyncAPI(t *testing.T) {
	type ref struct {
		Ref string `yaml:"$ref"`
	}
	var doc struct {
		AsyncAPI string `yaml:"asyncapi"`
		Info     struct{ Title, Version string }
		Channels map[string]struct {
			Address    string
			Parameters map[string]any
			Messages   map[string]ref
		}
		Operations map[string]struct {
			Action  string
			Channel ref
		}
		Components struct {
			Messages map[string]struct {
				Name        string
				ContentType string `yaml:"contentType"`
				Payload     struct {
					SchemaFormat string `yaml:"schemaFormat"`
					Schema       ref
				}
			}
			Schemas map[string]any
		}
	}
	if err := yaml.Unmarshal(schemas.AsyncAPI, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.AsyncAPI != "3.0.0" || doc.Info.Title == "" || doc.Info.Version == "" {
		t.Errorf("asyncapi %q, info %+v", doc.AsyncAPI, doc.Info)
	}
	var want, got []string
	for _, typ := range event.Types() {
		if typ.Planned {
			continue
		}
		subject, content := typ.Subject, "application/cloudevents+json"
		if typ.Bulk {
			subject, content = typ.Subject+".{partition}", event.RecordsMediaType
		}
		want = append(want, subject+" "+typ.Name+" "+content+" application/schema+json;version=draft-2020-12 events/"+typ.Name+"/schema.json")
	}
	sent := map[string]bool{}
	for _, op := range doc.Operations {
		if op.Action != "send" {
			t.Errorf("action %q", op.Action)
		}
		sent[strings.TrimPrefix(op.Channel.Ref, "#/channels/")] = true
	}
	for name, ch := range doc.Channels {
		if !sent[name] {
			t.Errorf("channel %s has no operation", name)
		}
		for _, m := range ch.Messages {
			key := strings.TrimPrefix(m.Ref, "#/components/messages/")
			msg, ok := doc.Components.Messages[key]
			if !ok {
				t.Errorf("channel %s: message %s is not defined", name, m.Ref)
			}
			if key == "deadLetter" {
				continue
			}
			got = append(got, ch.Address+" "+msg.Name+" "+msg.ContentType+" "+msg.Payload.SchemaFormat+" "+msg.Payload.Schema.Ref)
			if _, err := event.Compile(strings.Split(msg.Payload.Schema.Ref, "/")[1]); err != nil {
				t.Errorf("payload of %s: %v", msg.Name, err)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("channels differ\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	for name, s := range doc.Components.Schemas {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		js, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("mem:"+name, js); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Compile("mem:" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
}

func normal(t *testing.T, b []byte) string {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
