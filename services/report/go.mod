module github.com/tracer-framework/tracer/services/report

go 1.26
