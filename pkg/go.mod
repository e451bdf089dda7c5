module github.com/tracer-framework/tracer/pkg

go 1.26
