package testkit

import (
	"fmt"
	"net/netip"
	"reflect"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
)

// Filled returns a record of which every field, down to the items of its lists, has a
// value that no other field has. n counts the values given out. What is stored nowhere,
// because it follows from the rest when a record is written as JSON, is left empty.
func Filled[T any](n *int) *T {
	v := new(T)
	fill(reflect.ValueOf(v).Elem(), n)
	return v
}

// FilledBatch has two rows of every kind: one filled, one with nothing set.
func FilledBatch() *record.Batch {
	b := record.NewBatch()
	n := 0
	b.Flow.Append(Filled[model.Flow](&n))
	b.Flow.Append(&model.Flow{OrigIP: netip.IPv6Unspecified(), RespIP: netip.MustParseAddr("ff02::1")})
	b.DNS.Append(Filled[model.DNS](&n))
	b.DNS.Append(&model.DNS{})
	b.HTTP.Append(Filled[model.HTTP](&n))
	b.HTTP.Append(&model.HTTP{})
	b.TLS.Append(Filled[model.TLS](&n))
	b.TLS.Append(&model.TLS{})
	b.SSH.Append(Filled[model.SSH](&n))
	b.SSH.Append(&model.SSH{})
	b.Evidence.Append(Filled[model.Evidence](&n))
	b.Evidence.Append(&model.Evidence{})
	b.Detection.Append(Filled[model.Detection](&n))
	b.Detection.Append(&model.Detection{})
	b.Trace.Append(Filled[model.Trace](&n))
	b.Trace.Append(&model.Trace{})
	b.TraceEdge.Append(Filled[model.TraceEdge](&n))
	b.TraceEdge.Append(&model.TraceEdge{})
	b.Case.Append(Filled[model.Case](&n))
	b.Case.Append(&model.Case{})
	return b
}

func fill(v reflect.Value, n *int) {
	if v.Type() == reflect.TypeFor[model.OCSF]() {
		return
	}
	if p, ok := reflect.TypeAssert[*netip.Addr](v.Addr()); ok {
		*n++
		if *n%2 == 0 {
			*p = netip.AddrFrom4([4]byte{10, 0, byte(*n >> 8), byte(*n)})
		} else {
			*p = netip.AddrFrom16([16]byte{0x20, 1, 14: byte(*n >> 8), 15: byte(*n)})
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field, n)
		}
	case reflect.Slice:
		*n++
		v.Set(reflect.MakeSlice(v.Type(), 1+*n%3, 1+*n%3))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map: // of counters
		*n += 2
		v.Set(reflect.ValueOf(map[string]uint64{fmt.Sprint("b", *n): 7, fmt.Sprint("a", *n): uint64(*n)}))
	case reflect.String:
		*n++
		v.SetString(fmt.Sprintf("text-%d\x00\n\t\\'ü", *n))
	case reflect.Bool:
		*n++
		v.SetBool(*n%2 == 0)
	case reflect.Int64:
		*n++
		v.SetInt(1_700_000_000_000_000 + int64(*n))
	case reflect.Float64:
		*n++
		v.SetFloat(float64(*n) / 3)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		*n++
		v.SetUint(uint64(*n) & (1<<min(v.Type().Bits(), 16) - 1))
	}
}
