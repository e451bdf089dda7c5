module github.com/tracer-framework/tracer/services/tracemap

go 1.26
