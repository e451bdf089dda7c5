// Command tracemap runs the tracemap service as a process of its own.
package main

import (
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/services/tracemap"
)

func main() {
	c := tracemap.DefaultConfig()
	service.Main("tracemap", &c, func() error { return c.Validate() }, nil, func(env *service.Env) (service.Service, error) {
		return tracemap.New(c, tracemap.Deps{Log: env.Log, Bus: env.Bus, Store: env.Store})
	})
}
