module github.com/tracer-framework/tracer/services/report

go 1.26.0

require (
	github.com/tracer-framework/tracer/pkg v0.0.0
	github.com/tracer-framework/tracer/schemas v0.0.0
)

require golang.org/x/net v0.61.0 // indirect

replace github.com/tracer-framework/tracer/pkg => ../../pkg

replace github.com/tracer-framework/tracer/schemas => ../../schemas
