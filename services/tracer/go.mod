module github.com/tracer-framework/tracer/services/tracer

go 1.26
