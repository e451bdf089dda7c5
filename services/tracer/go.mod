module github.com/tracer-framework/tracer/services/tracer

go 1.26

require (
	github.com/tracer-framework/tracer/pkg v0.0.0
	github.com/tracer-framework/tracer/schemas v0.0.0
	github.com/tracer-framework/tracer/services/archive v0.0.0
	github.com/tracer-framework/tracer/services/fingerprint v0.0.0
	github.com/tracer-framework/tracer/services/ingest v0.0.0
	github.com/tracer-framework/tracer/services/report v0.0.0
	github.com/tracer-framework/tracer/services/tracemap v0.0.0
)

replace github.com/tracer-framework/tracer/pkg => ../../pkg

replace github.com/tracer-framework/tracer/schemas => ../../schemas

replace github.com/tracer-framework/tracer/services/ingest => ../ingest

replace github.com/tracer-framework/tracer/services/fingerprint => ../fingerprint

replace github.com/tracer-framework/tracer/services/archive => ../archive

replace github.com/tracer-framework/tracer/services/tracemap => ../tracemap

replace github.com/tracer-framework/tracer/services/report => ../report
