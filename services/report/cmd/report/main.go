// Command report runs the report service as a process of its own.
package main

import (
	"flag"

	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/services/report"
)

func main() {
	c := report.DefaultConfig()
	flags := func(fs *flag.FlagSet) {
		fs.StringVar(&c.Listen, "listen", c.Listen, "`address` of the API and the web page")
	}
	service.Main("report", &c, func() error { return c.Validate() }, flags, func(env *service.Env) (service.Service, error) {
		return report.New(c, report.Deps{Log: env.Log, Bus: env.Bus, Store: env.Store, Data: env.Data})
	})
}
