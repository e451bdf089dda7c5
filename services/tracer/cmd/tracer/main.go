// Command tracer is the whole of TRACER in one binary: the services, an embedded bus and
// store, and the commands of an analyst.
package main

import (
	"os"

	"github.com/tracer-framework/tracer/services/tracer/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
