package event

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tracer-framework/tracer/schemas"
)

// Validate checks an event before it is published: the envelope by the CloudEvents
// specification, type and partition by the catalogue, and the data of small events
// strictly by the type's JSON Schema.
func Validate(ev cloudevents.Event) error {
	if err := ev.Validate(); err != nil {
		return fmt.Errorf("event %s %q: %s", ev.Type(), ev.ID(), strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	if _, err := Subject(ev); err != nil {
		return err
	}
	t, _ := Lookup(ev.Type())
	if t.Bulk {
		if ct := ev.DataContentType(); ct != RecordsMediaType {
			return fmt.Errorf("event %s %q: content type %q, want %s", ev.Type(), ev.ID(), ct, RecordsMediaType)
		}
		return nil
	}
	s, err := compiled(t.Name)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(ev.Data()))
	if err != nil {
		return fmt.Errorf("event %s %q: data is no JSON: %w", ev.Type(), ev.ID(), err)
	}
	if err := s.Validate(doc); err != nil {
		return fmt.Errorf("event %s %q: data: %w", ev.Type(), ev.ID(), err)
	}
	return nil
}

// Compile compiles the JSON Schema (draft 2020-12) of an event type; formats are asserted.
func Compile(name string) (*jsonschema.Schema, error) {
	t, ok := Lookup(name)
	if !ok || t.Planned {
		return nil, fmt.Errorf("event type %q has no schema", name)
	}
	src, err := schemas.Events.ReadFile("events/" + name + "/schema.json")
	if err != nil {
		return nil, fmt.Errorf("schema of event %s: %w", name, err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(src))
	if err != nil {
		return nil, fmt.Errorf("schema of event %s: %w", name, err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource(t.Schema(), doc); err != nil {
		return nil, fmt.Errorf("schema of event %s: %w", name, err)
	}
	s, err := c.Compile(t.Schema())
	if err != nil {
		return nil, fmt.Errorf("schema of event %s: %w", name, err)
	}
	return s, nil
}

var schemaCache sync.Map // event type name -> func() (*jsonschema.Schema, error)

// compiled is Compile, done once per type.
func compiled(name string) (*jsonschema.Schema, error) {
	f, _ := schemaCache.LoadOrStore(name, sync.OnceValues(func() (*jsonschema.Schema, error) { return Compile(name) }))
	return f.(func() (*jsonschema.Schema, error))()
}
