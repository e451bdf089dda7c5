module github.com/tracer-framework/tracer/schemas

go 1.26
