package event_test

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/tracer-framework/tracer/pkg/event"
)

// Section 3.1.3.2 of the NATS protocol binding gives these examples and rules.
func TestValueEncoding(t *testing.T) {
	for _, c := range []struct{ plain, header string }{
		{"Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"},
		{"1234-1234-1234", "1234-1234-1234"},
		{`say "50%"`, "say%20%2250%25%22"},
		{"a\r\nb\t", "a%0D%0Ab%09"},
		{"\x7f~!", "%7F~!"},
		{"", ""},
	} {
		if got := event.EncodeValue(c.plain); got != c.header {
			t.Errorf("encode %q: got %s, want %s", c.plain, got, c.header)
		}
		if got, err := event.DecodeValue(c.header); err != nil || got != c.plain {
			t.Errorf("decode %q: got %q, %v, want %q", c.header, got, err, c.plain)
		}
	}
	for header, want := range map[string]string{
		"Euro%20%e2%82%ac":    "Euro €",              // lower-case digits
		"%41%42c":             "ABc",                 // needlessly encoded
		`"quoted value"`:      "quoted value",        // older writers quote
		`"a \"b\" \\ %2541"`:  `a "b" \ %41`,         // escapes first, then one round of decoding
		"application/json; x": "application/json; x", // spaces as they are
	} {
		if got, err := event.DecodeValue(header); err != nil || got != want {
			t.Errorf("decode %q: got %q, %v, want %q", header, got, err, want)
		}
	}
	for _, bad := range []string{"%C0%A0", "%", "%4", "%zz", "%ff", `"open`, `"x\`} {
		if got, err := event.DecodeValue(bad); err == nil {
			t.Errorf("decode %q: got %q, want an error", bad, got)
		}
	}
}

// Section 3.1.4, binary mode.
func TestBinaryExample(t *testing.T) {
	header := map[string][]string{
		"ce-specversion":     {"1.0"},
		"ce-type":            {"com.example.someevent"},
		"ce-time":            {"2018-04-05T03:56:24Z"},
		"ce-id":              {"1234-1234-1234"},
		"ce-source":          {"/mycontext/subcontext"},
		"ce-datacontenttype": {"application/json"},
	}
	body := []byte(`{"a":1}`)
	ev, err := event.Decode(header, body)
	if err != nil {
		t.Fatal(err)
	}
	if ev.Type() != "com.example.someevent" || ev.ID() != "1234-1234-1234" || ev.Source() != "/mycontext/subcontext" ||
		!ev.Time().Equal(time.Date(2018, 4, 5, 3, 56, 24, 0, time.UTC)) || ev.DataContentType() != "application/json" || string(ev.Data()) != `{"a":1}` {
		t.Errorf("decoded %v", ev)
	}
	h, b, err := event.EncodeBinary(ev)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h, header) || string(b) != string(body) {
		t.Errorf("encoded\n got %v %s\nwant %v %s", h, b, header, body)
	}
	// Header names are compared without regard to case (section 3.1.3.1).
	upper := map[string][]string{"content-type": {"application/json"}}
	for k, v := range header {
		upper[strings.ToUpper(k)] = v
	}
	again, err := event.Decode(upper, body)
	if err != nil {
		t.Fatal(err)
	}
	if again.String() != ev.String() {
		t.Errorf("with upper-case names:\n%s\nwant\n%s", again, ev)
	}
}

// Section 3.2.1, structured mode, with the attributes that the example leaves out.
func TestStructuredExample(t *testing.T) {
	body := []byte(`{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext/subcontext",
    "id" : "1234-1234-1234",
    "time" : "2018-04-05T03:56:24Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "datacontenttype" : "application/json",
    "data" : {
        "appinfoA" : "abc",
        "appinfoB" : 123,
        "appinfoC" : true
    }
}`)
	for _, ct := range []string{"application/cloudevents+json; charset=UTF-8", "APPLICATION/CloudEvents+JSON", "application/cloudevents"} {
		ev, err := event.Decode(map[string][]string{"CONTENT-TYPE": {ct}}, body)
		if err != nil {
			t.Fatalf("%s: %v", ct, err)
		}
		if ev.ID() != "1234-1234-1234" || ev.Extensions()["comexampleextension1"] != "value" || ev.Extensions()["comexampleothervalue"] != int32(5) {
			t.Errorf("%s: decoded %v", ct, ev)
		}
		var d struct{ AppinfoB int }
		if d, err = event.Data[struct{ AppinfoB int }](ev); err != nil || d.AppinfoB != 123 {
			t.Errorf("data %+v, %v", d, err)
		}
		h, out, err := event.EncodeStructured(ev)
		if err != nil {
			t.Fatal(err)
		}
		if got := h["Content-Type"]; len(got) != 1 || got[0] != "application/cloudevents+json; charset=UTF-8" {
			t.Errorf("content type %v", got)
		}
		if normal(t, out) != normal(t, body) {
			t.Errorf("encoded %s\nwant %s", out, body)
		}
	}
}

func TestStructuredData(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`"datacontenttype":"text/plain","data":"a b"`, "a b"},
		{`"datacontenttype":"application/x","data_base64":"AP8="`, "\x00\xff"},
		{`"data":[1, 2]`, "[1, 2]"},
		{`"data":"s"`, `"s"`},
		{`"subject":null`, ""},
	} {
		ev, err := event.Decode(structured, []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t",`+c.in+`}`))
		if err != nil || string(ev.Data()) != c.want {
			t.Errorf("%s: %q, %v, want %q", c.in, ev.Data(), err, c.want)
		}
	}
}

var structured = map[string][]string{"Content-Type": {"application/cloudevents+json"}}

func TestRefused(t *testing.T) {
	ok := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-type": {"t"}, "ce-source": {"/s"}}
	with := func(k string, v ...string) map[string][]string {
		h := maps.Clone(ok)
		h[k] = v
		return h
	}
	if _, err := event.Decode(ok, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		header map[string][]string
		body   string
		want   string
	}{
		"no event":          {nil, "{}", "not a cloud event"},
		"batch":             {map[string][]string{"Content-Type": {"application/cloudevents-batch+json"}}, "[]", "one event per message"},
		"other format":      {map[string][]string{"content-type": {"application/cloudevents+avro"}}, "", "only the JSON event format"},
		"charset":           {map[string][]string{"Content-Type": {"application/cloudevents+json; charset=utf-16"}}, "{}", "only UTF-8"},
		"version":           {with("ce-specversion", "0.3"), "", "only 1.0"},
		"id twice":          {with("CE-ID", "2"), "", "more than once"},
		"values twice":      {with("ce-id", "1", "2"), "", "more than once"},
		"bad escape":        {with("ce-subject", "%C0%A0"), "", "not UTF-8"},
		"bad time":          {with("ce-time", "yesterday"), "", "RFC 3339"},
		"bad name":          {with("ce-trace_id", "x"), "", "trace_id"},
		"empty id":          {with("ce-id", ""), "", "id"},
		"bad schema":        {with("ce-dataschema", "%ZZ"), "", "dataschema"},
		"no object":         {structured, "[]", "no JSON object"},
		"not UTF-8":         {structured, "{\"specversion\":\"\xff\"}", "UTF-8"},
		"member twice":      {structured, `{"specversion":"1.0","id":"1","id":"2"}`, "more than once"},
		"bytes follow":      {structured, `{"specversion":"1.0"} {}`, "follow"},
		"object attribute":  {structured, `{"specversion":"1.0","id":{}}`, "neither string"},
		"float attribute":   {structured, `{"specversion":"1.0","id":"1","source":"/s","type":"t","x":1.5}`, "32-bit"},
		"number id":         {structured, `{"specversion":"1.0","id":7}`, "no string"},
		"upper-case name":   {structured, `{"specversion":"1.0","id":"1","Subject":"x"}`, "lower case"},
		"both kinds":        {structured, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":""}`, "both"},
		"broken base64":     {structured, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"*"}`, "base64"},
		"truncated":         {structured, `{"specversion":"1.0","id":"1`, "unexpected"},
		"text data no text": {structured, `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":{}}`, "no string"},
	} {
		_, err := event.Decode(c.header, []byte(c.body))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// Both modes carry every attribute, whatever text stands in it.
func TestRoundTrip(t *testing.T) {
	ev := cloudevents.New()
	ev.SetID("ié\"%\\ d")
	ev.SetSource("/tracer/ingest")
	ev.SetType("io.example.thing.done.v1")
	ev.SetSubject("ÄÖ 😀 % \"q\"")
	ev.SetTime(time.Date(2026, 11, 2, 8, 0, 0, 123456000, time.UTC))
	ev.SetDataSchema("https://example.org/s.json")
	ev.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if err := ev.SetData("application/json", map[string]any{"a": "b"}); err != nil {
		t.Fatal(err)
	}
	for name, encode := range map[string]func(cloudevents.Event) (map[string][]string, []byte, error){
		"binary": event.EncodeBinary, "structured": event.EncodeStructured,
	} {
		h, b, err := encode(ev)
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := event.Decode(h, b)
		if err != nil {
			t.Fatal(name, err)
		}
		if got.String() != ev.String() {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, ev)
		}
		h2, b2, err := encode(got)
		if err != nil || !reflect.DeepEqual(h, h2) || string(b) != string(b2) {
			t.Errorf("%s: second encoding differs: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("ce-specversion", "1.0", "ce-id", "%20", []byte("{}"))
	f.Add("Content-Type", "application/cloudevents+json", "x", "y", []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}`))
	f.Add("content-type", "application/cloudevents-batch+json", "CE-TYPE", `"\"`, []byte(`[]`))
	f.Add("ce-time", "2018-04-05T03:56:24Z", "ce-dataschema", "http://[::1", []byte{0xff})
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string, body []byte) {
		header := map[string][]string{"ce-specversion": {"1.0"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-id": {"1"}}
		header[k1], header[k2] = []string{v1}, []string{v2}
		ev, err := event.Decode(header, body)
		if err != nil {
			return
		}
		// What was understood can be written and read again with the same meaning.
		for _, encode := range []func(cloudevents.Event) (map[string][]string, []byte, error){event.EncodeBinary, event.EncodeStructured} {
			h, b, err := encode(ev)
			if err != nil && strings.HasSuffix(err.Error(), "data is no JSON") {
				continue // binary mode carries any bytes
			}
			if err != nil {
				t.Fatalf("cannot encode what was decoded: %v\n%v", err, ev)
			}
			again, err := event.Decode(h, b)
			if err != nil {
				t.Fatalf("cannot decode what was encoded: %v\n%v %q", err, h, b)
			}
			if again.ID() != ev.ID() || again.Type() != ev.Type() || again.Source() != ev.Source() || again.Subject() != ev.Subject() || !again.Time().Equal(ev.Time()) {
				t.Fatalf("attributes changed:\n%v\n%v", ev, again)
			}
		}
	})
}
