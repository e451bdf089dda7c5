package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// The mapping below is the NATS protocol binding of CloudEvents 1.0 (bindings/
// nats-protocol-binding.md, version 1.0.3-wip). NATS does not canonicalise header names,
// so they are compared without regard to case, as its section 3.1.3.1 asks.

const (
	headerPrefix      = "ce-"
	headerContentType = "Content-Type"

	// StructuredContentType marks a message whose whole event is JSON in the body.
	StructuredContentType = "application/cloudevents+json; charset=UTF-8"

	maxAttributes = 64    // attributes accepted in one message
	maxAttribute  = 16384 // bytes accepted in one attribute value
)

// ErrNotCloudEvent says that a message is neither in binary nor in structured mode.
var ErrNotCloudEvent = errors.New("not a cloud event: no ce-specversion header and no Content-Type application/cloudevents")

// Encode maps an event to NATS headers and body: bulk types in binary mode, all others in
// structured JSON mode. The body of a bulk event is the event's data, not a copy.
func Encode(ev cloudevents.Event) (map[string][]string, []byte, error) {
	if t, ok := Lookup(ev.Type()); ok && t.Bulk {
		return EncodeBinary(ev)
	}
	return EncodeStructured(ev)
}

// EncodeStructured maps an event to one JSON document (section 3.2).
func EncodeStructured(ev cloudevents.Event) (map[string][]string, []byte, error) {
	if err := ev.Validate(); err != nil {
		return nil, nil, fmt.Errorf("event %s %q: %w", ev.Type(), ev.ID(), err)
	}
	if data := ev.Data(); len(data) > 0 && !ev.DataBase64 && (!utf8.Valid(data) || isJSON(ev.DataMediaType()) && !json.Valid(data)) {
		return nil, nil, fmt.Errorf("event %s %q: data is no JSON", ev.Type(), ev.ID())
	}
	var b bytes.Buffer
	if err := cloudevents.WriteJson(&ev, &b); err != nil {
		return nil, nil, fmt.Errorf("event %s %q: %w", ev.Type(), ev.ID(), err)
	}
	return map[string][]string{headerContentType: {StructuredContentType}}, b.Bytes(), nil
}

// EncodeBinary maps every attribute to a header of its own and the data to the body
// (section 3.1).
func EncodeBinary(ev cloudevents.Event) (map[string][]string, []byte, error) {
	if err := ev.Validate(); err != nil {
		return nil, nil, fmt.Errorf("event %s %q: %w", ev.Type(), ev.ID(), err)
	}
	h := make(map[string][]string, 12)
	set := func(name, value string) {
		if value != "" {
			h[headerPrefix+name] = []string{EncodeValue(value)}
		}
	}
	set("specversion", ev.SpecVersion())
	set("type", ev.Type())
	set("source", ev.Source())
	set("id", ev.ID())
	set("subject", ev.Subject())
	set("datacontenttype", ev.DataContentType())
	set("dataschema", ev.DataSchema())
	if !ev.Time().IsZero() {
		set("time", types.FormatTime(ev.Time()))
	}
	for name, v := range ev.Extensions() {
		s, err := types.Format(v)
		if err != nil {
			return nil, nil, fmt.Errorf("event %s %q: extension %s: %w", ev.Type(), ev.ID(), name, err)
		}
		set(name, s)
	}
	return h, ev.Data(), nil
}

// Decode reads an event in either mode. The event's data of binary mode is the body, not
// a copy. Batches of events have no place in NATS (section 3) and are refused.
func Decode(header map[string][]string, body []byte) (cloudevents.Event, error) {
	ct, err := contentType(header)
	if err != nil {
		return cloudevents.Event{}, err
	}
	var ev cloudevents.Event
	switch {
	case strings.HasPrefix(ct, "application/cloudevents-batch"):
		return cloudevents.Event{}, errors.New("content type application/cloudevents-batch: NATS carries one event per message")
	case ct == "application/cloudevents" || ct == "application/cloudevents+json":
		ev, err = decodeStructured(body)
	case strings.HasPrefix(ct, "application/cloudevents"):
		return cloudevents.Event{}, fmt.Errorf("content type %s: only the JSON event format is read", ct)
	default:
		ev, err = decodeBinary(header, body)
	}
	if err != nil {
		return cloudevents.Event{}, err
	}
	if err := ev.Validate(); err != nil {
		return cloudevents.Event{}, fmt.Errorf("cloud event: %s", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	return ev, nil
}

// contentType is the lower-case media type of the Content-Type header, "" if there is none.
func contentType(header map[string][]string) (string, error) {
	for name, values := range header {
		if !strings.EqualFold(name, headerContentType) || len(values) == 0 {
			continue
		}
		mt, params, err := mime.ParseMediaType(values[0])
		if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
			if strings.HasPrefix(strings.ToLower(values[0]), "application/cloudevents") {
				return "", fmt.Errorf("content type %q: %w", cut(values[0]), err)
			}
			continue // the content type of something else; binary mode does not look at it
		}
		if cs := params["charset"]; strings.HasPrefix(mt, "application/cloudevents") && cs != "" && !strings.EqualFold(cs, "utf-8") {
			return "", fmt.Errorf("content type %q: only UTF-8 is read", cut(values[0]))
		}
		return mt, nil
	}
	return "", nil
}

func decodeBinary(header map[string][]string, body []byte) (cloudevents.Event, error) {
	attrs := make(map[string]string, 12)
	for name, values := range header {
		if len(name) <= len(headerPrefix) || !strings.EqualFold(name[:len(headerPrefix)], headerPrefix) {
			continue
		}
		key := strings.ToLower(name[len(headerPrefix):])
		if _, twice := attrs[key]; twice || len(values) != 1 {
			return cloudevents.Event{}, fmt.Errorf("header %s%s is given more than once", headerPrefix, cut(key))
		}
		if len(attrs) == maxAttributes {
			return cloudevents.Event{}, fmt.Errorf("more than %d attributes", maxAttributes)
		}
		v, err := DecodeValue(values[0])
		if err != nil {
			return cloudevents.Event{}, fmt.Errorf("header %s%s: %w", headerPrefix, cut(key), err)
		}
		attrs[key] = v
	}
	version, ok := attrs["specversion"]
	if !ok {
		return cloudevents.Event{}, ErrNotCloudEvent
	}
	ev, err := newEvent(version)
	if err != nil {
		return cloudevents.Event{}, err
	}
	for _, key := range sortedKeys(attrs) {
		if err := setAttribute(&ev, key, attrs[key]); err != nil {
			return cloudevents.Event{}, err
		}
	}
	if len(body) > 0 {
		ev.DataEncoded, ev.DataBase64 = body, !isJSON(ev.DataMediaType())
	}
	return ev, nil
}

// decodeStructured reads the JSON event format (formats/json-format.md). The SDK's own
// reader accepts what is no JSON, so it is not used here.
func decodeStructured(body []byte) (cloudevents.Event, error) {
	doc, err := object(body)
	if err != nil {
		return cloudevents.Event{}, fmt.Errorf("structured event: %w", err)
	}
	if len(doc) > maxAttributes {
		return cloudevents.Event{}, fmt.Errorf("structured event: more than %d members", maxAttributes)
	}
	var version string
	if err := json.Unmarshal(doc["specversion"], &version); err != nil {
		return cloudevents.Event{}, errors.New("structured event: specversion is missing or no string")
	}
	ev, err := newEvent(version)
	if err != nil {
		return cloudevents.Event{}, err
	}
	for _, key := range sortedKeys(doc) {
		raw := doc[key]
		if key == "data" || key == "data_base64" || string(raw) == "null" {
			continue
		}
		v, err := attribute(raw)
		if err != nil {
			return cloudevents.Event{}, fmt.Errorf("structured event: attribute %s: %w", cut(key), err)
		}
		if err := setAttribute(&ev, key, v); err != nil {
			return cloudevents.Event{}, err
		}
	}
	data, plain := doc["data"]
	encoded, binary := doc["data_base64"]
	switch {
	case plain && binary:
		return cloudevents.Event{}, errors.New("structured event: both data and data_base64 are given")
	case binary:
		var s string
		if err := json.Unmarshal(encoded, &s); err != nil {
			return cloudevents.Event{}, errors.New("structured event: data_base64 is no string")
		}
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return cloudevents.Event{}, fmt.Errorf("structured event: data_base64: %w", err)
		}
		ev.DataEncoded, ev.DataBase64 = b, true
	case plain && isJSON(ev.DataMediaType()):
		ev.DataEncoded = bytes.Clone(data)
	case plain:
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return cloudevents.Event{}, fmt.Errorf("structured event: data of type %s is no string", cut(ev.DataMediaType()))
		}
		ev.DataEncoded = []byte(s)
	}
	return ev, nil
}

// object reads one JSON object and refuses names given twice, which readers could
// understand differently.
func object(body []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("body is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("body is no JSON object")
	}
	doc := make(map[string]json.RawMessage, 12)
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := tok.(string)
		if _, twice := doc[key]; twice {
			return nil, fmt.Errorf("member %q is given more than once", cut(key))
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, err
		}
		doc[key] = raw
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("bytes follow the JSON object")
	}
	return doc, nil
}

// attribute reads a CloudEvents attribute value from JSON: a string, boolean or 32-bit integer.
func attribute(raw json.RawMessage) (any, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case string:
		if len(v) > maxAttribute {
			return nil, fmt.Errorf("longer than %d bytes", maxAttribute)
		}
		return v, nil
	case bool:
		return v, nil
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s is no 32-bit integer", cut(v.String()))
		}
		return int32(n), nil
	}
	return nil, errors.New("neither string, boolean nor integer")
}

func newEvent(version string) (cloudevents.Event, error) {
	if version != cloudevents.CloudEventsVersionV1 {
		return cloudevents.Event{}, fmt.Errorf("specversion %q: only 1.0 is read", cut(version))
	}
	return cloudevents.New(cloudevents.CloudEventsVersionV1), nil
}

func setAttribute(ev *cloudevents.Event, key string, value any) error {
	ctx := ev.Context
	s, isString := value.(string)
	var err error
	switch key {
	case "specversion":
		return nil
	case "id", "source", "type", "subject", "time", "dataschema", "datacontenttype":
		if !isString {
			return fmt.Errorf("attribute %s is no string", key)
		}
	}
	switch key {
	case "id":
		err = ctx.SetID(s)
	case "source":
		err = ctx.SetSource(s)
	case "type":
		err = ctx.SetType(s)
	case "subject":
		err = ctx.SetSubject(s)
	case "dataschema":
		err = ctx.SetDataSchema(s)
	case "datacontenttype":
		err = ctx.SetDataContentType(s)
	case "time":
		t, perr := types.ParseTime(s)
		if perr != nil {
			return fmt.Errorf("attribute time: %q is no RFC 3339 time", cut(s))
		}
		err = ctx.SetTime(t)
	default:
		if strings.ToLower(key) != key {
			return fmt.Errorf("attribute %q: names are lower case", cut(key))
		}
		err = ctx.SetExtension(key, value)
	}
	if err != nil {
		return fmt.Errorf("attribute %s: %w", cut(key), err)
	}
	return nil
}

// EncodeValue percent-encodes an attribute value for a NATS header: space, double quote,
// percent and everything outside U+0021 to U+007E (section 3.1.3.2). NATS turns CR and LF
// into spaces and trims, so without it values would change on the way.
func EncodeValue(s string) string {
	const hex = "0123456789ABCDEF"
	n := 0
	for i := range len(s) {
		if escaped(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; escaped(c) {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func escaped(c byte) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '%' }

// DecodeValue undoes EncodeValue: it takes off double quotes with their backslash escapes
// (RFC 7230 section 3.2.6), then does one round of percent-decoding, and refuses what is
// not UTF-8 afterwards.
func DecodeValue(s string) (string, error) {
	if len(s) > 3*maxAttribute {
		return "", fmt.Errorf("value of %d bytes is too long", len(s))
	}
	b := make([]byte, 0, len(s))
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			if i++; i == len(s) {
				return "", errors.New("value ends in a backslash")
			}
			b = append(b, s[i])
		default:
			b = append(b, c)
		}
	}
	if quoted {
		return "", errors.New("value has an open quote")
	}
	out := b[:0]
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' {
			if i+2 >= len(b) {
				return "", errors.New("percent sign without two hexadecimal digits")
			}
			hi, lo := unhex(b[i+1]), unhex(b[i+2])
			if hi > 15 || lo > 15 {
				return "", errors.New("percent sign without two hexadecimal digits")
			}
			c = hi<<4 | lo
			i += 2
		}
		out = append(out, c)
	}
	if !utf8.Valid(out) {
		return "", errors.New("value is not UTF-8")
	}
	if len(out) > maxAttribute {
		return "", fmt.Errorf("longer than %d bytes", maxAttribute)
	}
	return string(out), nil
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func isJSON(mediaType string) bool {
	return mediaType == "" || mediaType == "application/json" || mediaType == "text/json" || strings.HasSuffix(mediaType, "+json")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// cut bounds what hostile input can put into a message.
func cut(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
