package profile

import (
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/store"
)

// Compiled is a profile ready to match rows. It is safe for concurrent use.
type Compiled struct {
	Profile
	program  cel.Program // nil without when
	needs    []string    // fields of the row that are read, sorted
	ip       map[netip.Addr]string
	cidr     map[netip.Prefix]string
	bits     []int // prefix lengths in cidr
	exact    map[string]string
	wildcard map[string]string
	parts    []part // url, user_agent: searched one after the other
}

type part struct{ kind, text string }

// field is one name an expression may use, and how to read it.
type field struct {
	typ *cel.Type
	get func(*store.Record) any
}

// fields of each kind of row. Names are the JSON names of the record; those of the flow a
// record belongs to are prefixed with "flow.".
var fields = sync.OnceValue(func() map[string]map[string]field {
	out := map[string]map[string]field{}
	rec := reflect.TypeFor[store.Record]()
	for _, kind := range Kinds {
		table := map[string]field{}
		flow, _ := rec.FieldByName("Flow")
		addFields(table, "flow.", flow.Type, flow.Index)
		own, _ := rec.FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, kind) })
		addFields(table, "", own.Type, own.Index)
		out[kind] = table
	}
	return out
})

func addFields(table map[string]field, prefix string, t reflect.Type, at []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(slices.Clone(at), i)
		if f.Anonymous {
			addFields(table, prefix, f.Type, index)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if typ, get := accessor(f.Type, index); typ != nil {
			table[prefix+name] = field{typ: typ, get: get}
		}
	}
}

// accessor says how a Go field appears to an expression: addresses and ids as text, all
// numbers as int, times as timestamp.
func accessor(t reflect.Type, index []int) (*cel.Type, func(*store.Record) any) {
	value := func(r *store.Record) reflect.Value { return reflect.ValueOf(r).Elem().FieldByIndex(index) }
	switch t {
	case reflect.TypeFor[netip.Addr]():
		return cel.StringType, func(r *store.Record) any {
			if ip := value(r).Interface().(netip.Addr); ip.IsValid() {
				return ip.Unmap().String()
			}
			return ""
		}
	case reflect.TypeFor[model.Time]():
		return cel.TimestampType, func(r *store.Record) any { return value(r).Interface().(model.Time).Time() }
	case reflect.TypeFor[model.FlowID]():
		return cel.StringType, func(r *store.Record) any { return value(r).Interface().(model.FlowID).String() }
	}
	switch t.Kind() {
	case reflect.String:
		return cel.StringType, func(r *store.Record) any { return value(r).String() }
	case reflect.Bool:
		return cel.BoolType, func(r *store.Record) any { return value(r).Bool() }
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return cel.IntType, func(r *store.Record) any { return int64(value(r).Uint()) }
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return cel.ListType(cel.StringType), func(r *store.Record) any { return value(r).Interface() }
		}
		return cel.ListType(cel.IntType), func(r *store.Record) any {
			v := value(r)
			out := make([]int64, v.Len())
			for i := range out {
				out[i] = int64(v.Index(i).Uint())
			}
			return out
		}
	}
	return nil, nil
}

// row gives an expression the fields of one record.
type row struct {
	rec   *store.Record
	table map[string]field
}

// ResolveName is part of cel.Activation.
func (a row) ResolveName(name string) (any, bool) {
	f, ok := a.table[name]
	if !ok {
		return nil, false
	}
	return f.get(a.rec), true
}

// Parent is part of cel.Activation.
func (row) Parent() cel.Activation { return nil }

// Engine compiles profiles. It knows the site, so that expressions can ask for it.
type Engine struct {
	envs map[string]*cel.Env
}

// NewEngine prepares the expression language of every kind of row. internal tells whether
// an address belongs to the site.
func NewEngine(internal func(netip.Addr) bool) (*Engine, error) {
	e := &Engine{envs: map[string]*cel.Env{}}
	for _, kind := range Kinds {
		opts := []cel.EnvOption{
			ext.Strings(),
			function2("cidr", func(ip, prefix string) (bool, error) {
				p, err := netip.ParsePrefix(prefix)
				if err != nil {
					return false, fmt.Errorf("cidr: %w", err)
				}
				a, err := netip.ParseAddr(ip)
				return err == nil && p.Contains(a.Unmap()), nil
			}),
			function2("under", func(name, domain string) (bool, error) { return under(hostname(name), strings.ToLower(domain)), nil }),
			function2("has_any", func(text, characters string) (bool, error) { return strings.ContainsAny(text, characters), nil }),
			function1("is_ip", cel.BoolType, func(host string) ref.Val { return types.Bool(isAddress(host)) }),
			function1("decoded", cel.StringType, func(s string) ref.Val { return types.String(decoded(s)) }),
			function1("internal", cel.BoolType, func(ip string) ref.Val {
				a, err := netip.ParseAddr(ip)
				return types.Bool(err == nil && internal(a.Unmap()))
			}),
		}
		for name, f := range fields()[kind] {
			opts = append(opts, cel.Variable(name, f.typ))
		}
		env, err := cel.NewEnv(opts...)
		if err != nil {
			return nil, fmt.Errorf("set up expressions over %s: %w", kind, err)
		}
		e.envs[kind] = env
	}
	return e, nil
}

func function1(name string, result *cel.Type, f func(string) ref.Val) cel.EnvOption {
	return cel.Function(name, cel.Overload(name+"_string", []*cel.Type{cel.StringType}, result,
		cel.UnaryBinding(func(v ref.Val) ref.Val { return f(string(v.(types.String))) })))
}

func function2(name string, f func(a, b string) (bool, error)) cel.EnvOption {
	return cel.Function(name, cel.Overload(name+"_string_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
		cel.BinaryBinding(func(a, b ref.Val) ref.Val {
			ok, err := f(string(a.(types.String)), string(b.(types.String)))
			if err != nil {
				return types.NewErr("%v", err)
			}
			return types.Bool(ok)
		})))
}

func (e *Engine) compile(p Profile) (*Compiled, error) {
	c := &Compiled{Profile: p}
	needs := map[string]bool{}
	table := fields()[p.On]
	for _, name := range p.Show {
		if _, ok := table[name]; !ok {
			return nil, fmt.Errorf("show: %s has no field %q", p.On, name)
		}
		needs[name] = true
	}
	if strings.TrimSpace(p.When) != "" {
		ast, issues := e.envs[p.On].Compile(p.When)
		if issues.Err() != nil {
			return nil, fmt.Errorf("when: %s", celError(issues))
		}
		if ast.OutputType() != cel.BoolType {
			return nil, fmt.Errorf("when gives %s, expected bool", ast.OutputType())
		}
		for _, r := range ast.NativeRep().ReferenceMap() {
			if _, ok := table[r.Name]; ok {
				needs[r.Name] = true
			}
		}
		var err error
		if c.program, err = e.envs[p.On].Program(ast, cel.EvalOptions(cel.OptOptimize)); err != nil {
			return nil, fmt.Errorf("when: %w", err)
		}
	}
	if err := c.index(needs); err != nil {
		return nil, err
	}
	for name := range needs {
		c.needs = append(c.needs, name)
	}
	slices.Sort(c.needs)
	return c, nil
}

// celError is the first issue on one line, with its place in the expression.
func celError(issues *cel.Issues) string {
	e := issues.Errors()[0]
	return fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, e.Message)
}

// hostname is s in lower case without port and final dot.
func hostname(s string) string {
	s = strings.ToLower(s)
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.Contains(s[:i], ":") {
		s = s[:i]
	}
	return strings.TrimSuffix(s, ".")
}

func under(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// isAddress reports whether a Host field names an address instead of a name.
func isAddress(host string) bool {
	if _, err := netip.ParseAddrPort(host); err == nil {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// decoded undoes percent encoding as often as an attacker may have applied it (three
// times), turns + into a blank and lowers the case. Broken escapes stay as they are.
func decoded(s string) string {
	for range 3 {
		next := unescape(s)
		if next == s {
			break
		}
		s = next
	}
	return strings.ToLower(strings.ReplaceAll(s, "+", " "))
}

func unescape(s string) string {
	if v, err := url.PathUnescape(s); err == nil {
		return v
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(v)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
