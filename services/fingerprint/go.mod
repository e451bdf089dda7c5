module github.com/tracer-framework/tracer/services/fingerprint

go 1.26
