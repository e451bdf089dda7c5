module github.com/tracer-framework/tracer/services/archive

go 1.26
