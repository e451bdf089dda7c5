module github.com/tracer-framework/tracer/pkg

go 1.26

require github.com/tracer-framework/tracer/schemas v0.0.0

replace github.com/tracer-framework/tracer/schemas => ../schemas
