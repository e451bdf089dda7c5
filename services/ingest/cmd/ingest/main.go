// Command ingest runs the ingest service as a process of its own.
package main

import (
	"flag"

	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/services/ingest"
)

func main() {
	c := ingest.DefaultConfig()
	flags := func(fs *flag.FlagSet) {
		fs.StringVar(&c.Inbox, "inbox", c.Inbox, "`folder` watched for captures")
	}
	service.Main("ingest", &c, func() error { return c.Validate() }, flags, func(env *service.Env) (service.Service, error) {
		return ingest.New(c, ingest.Deps{Log: env.Log, Bus: env.Bus})
	})
}
