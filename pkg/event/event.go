package event

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// RecordsMediaType is the datacontenttype of bulk events: the container of ClickHouse
// Native blocks that package record writes.
const RecordsMediaType = "application/vnd.tracer.records"

// partitionExtension is the CloudEvents extension that holds the partition of a bulk event.
const partitionExtension = "partitionkey"

// New makes a small event of a catalogued type: data becomes JSON. It must be the type's Go
// type, or a pointer to it; nil lists and maps in it are written as empty ones, so that the
// same content gives the same bytes. subject is the CloudEvents subject: the id of the thing
// the event tells about. The time attribute is left out; callers may set it.
func New(typ, id, source, subject string, data any) (cloudevents.Event, error) {
	t, err := publishable(typ)
	if err != nil {
		return cloudevents.Event{}, err
	}
	if t.Bulk {
		return cloudevents.Event{}, fmt.Errorf("event %s carries a batch of records: use NewBulk", typ)
	}
	v := reflect.ValueOf(data)
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if !v.IsValid() || v.Type() != t.data {
		return cloudevents.Event{}, fmt.Errorf("event %s carries %s, not %T", typ, t.data, data)
	}
	b, err := json.Marshal(filled(v).Interface())
	if err != nil {
		return cloudevents.Event{}, fmt.Errorf("encode data of event %s: %w", typ, err)
	}
	ev := envelope(t, id, source, subject)
	ev.SetDataContentType(cloudevents.ApplicationJSON)
	ev.DataEncoded = b
	return ev, Validate(ev)
}

// NewBulk makes a bulk event of a catalogued type from an encoded batch of records. body is
// kept, not copied. partition is 0 to Partitions-1.
func NewBulk(typ, id, source, subject string, partition int, body []byte) (cloudevents.Event, error) {
	t, err := publishable(typ)
	if err != nil {
		return cloudevents.Event{}, err
	}
	if !t.Bulk {
		return cloudevents.Event{}, fmt.Errorf("event %s is no bulk event: use New", typ)
	}
	ev := envelope(t, id, source, subject)
	ev.SetDataContentType(RecordsMediaType)
	ev.SetExtension(partitionExtension, strconv.Itoa(partition))
	ev.DataEncoded, ev.DataBase64 = body, true
	return ev, Validate(ev)
}

// Data decodes the JSON data of an event. Unknown fields are ignored: a reader must
// survive the next minor version.
func Data[T any](ev cloudevents.Event) (T, error) {
	var v T
	if err := json.Unmarshal(ev.Data(), &v); err != nil {
		return v, fmt.Errorf("decode data of event %s %q: %w", ev.Type(), ev.ID(), err)
	}
	return v, nil
}

// Partition is the partition of a bulk event.
func Partition(ev cloudevents.Event) (int, error) {
	s, _ := ev.Extensions()[partitionExtension].(string)
	p, err := strconv.Atoi(s)
	if err != nil || p < 0 || p >= Partitions || s != strconv.Itoa(p) {
		return 0, fmt.Errorf("event %s %q: partition %q is not a number from 0 to %d", ev.Type(), ev.ID(), s, Partitions-1)
	}
	return p, nil
}

// Subject is the NATS subject an event is published on.
func Subject(ev cloudevents.Event) (string, error) {
	t, err := publishable(ev.Type())
	if err != nil {
		return "", err
	}
	if !t.Bulk {
		return t.Subject, nil
	}
	p, err := Partition(ev)
	if err != nil {
		return "", err
	}
	return t.Subject + "." + strconv.Itoa(p), nil
}

func envelope(t Type, id, source, subject string) cloudevents.Event {
	ev := cloudevents.New(cloudevents.CloudEventsVersionV1)
	ev.SetType(t.Name)
	ev.SetID(id)
	ev.SetSource(source)
	ev.SetSubject(subject)
	ev.SetDataSchema(t.Schema())
	return ev
}

func publishable(typ string) (Type, error) {
	t, ok := Lookup(typ)
	if !ok {
		return Type{}, fmt.Errorf("event type %q is not in the catalogue", typ)
	}
	if t.Planned {
		return Type{}, fmt.Errorf("event type %s is planned: its data is not defined yet, so it cannot be published", typ)
	}
	return t, nil
}

// filled copies v with every nil slice and map replaced by an empty one.
func filled(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Struct:
		if v.NumField() == 0 || !v.Type().Field(0).IsExported() {
			return v // netip.Addr and the like: a value, not a record
		}
		out := reflect.New(v.Type()).Elem()
		for i := range v.NumField() {
			out.Field(i).Set(filled(v.Field(i)))
		}
		return out
	case reflect.Slice:
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(filled(v.Index(i)))
		}
		return out
	case reflect.Map:
		if v.IsNil() {
			return reflect.MakeMap(v.Type())
		}
	}
	return v
}
