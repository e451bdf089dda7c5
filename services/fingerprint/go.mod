module github.com/tracer-framework/tracer/services/fingerprint

go 1.26.0

require (
	github.com/tracer-framework/tracer/pkg v0.0.0
	github.com/tracer-framework/tracer/schemas v0.0.0
)

require (
	cel.dev/cel-go v0.33.2 // indirect
	github.com/goccy/go-yaml v1.19.2 // indirect
	golang.org/x/net v0.62.0 // indirect
)

replace github.com/tracer-framework/tracer/pkg => ../../pkg

replace github.com/tracer-framework/tracer/schemas => ../../schemas
