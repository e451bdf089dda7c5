// Command archive runs the archive service as a process of its own.
package main

import (
	"github.com/tracer-framework/tracer/pkg/service"
	"github.com/tracer-framework/tracer/services/archive"
)

func main() {
	c := archive.DefaultConfig()
	service.Main("archive", &c, func() error { return c.Validate() }, nil, func(env *service.Env) (service.Service, error) {
		return archive.Open(c, env)
	})
}
