// Command fingerprint runs the fingerprint service as a process of its own.
package main

import (
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/services/fingerprint"
)

func main() {
	c := fingerprint.DefaultConfig()
	service.Main("fingerprint", &c, func() error { return c.Validate() }, nil, func(env *service.Env) (service.Service, error) {
		return fingerprint.New(c, fingerprint.Deps{Log: env.Log, Bus: env.Bus, Store: env.Store})
	})
}
