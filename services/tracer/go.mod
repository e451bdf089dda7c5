module github.com/tracer-framework/tracer/services/tracer

go 1.26.0

require (
	github.com/tracer-framework/tracer/pkg v0.0.0
	github.com/tracer-framework/tracer/schemas v0.0.0
	github.com/tracer-framework/tracer/services/archive v0.0.0
	github.com/tracer-framework/tracer/services/fingerprint v0.0.0
	github.com/tracer-framework/tracer/services/ingest v0.0.0
	github.com/tracer-framework/tracer/services/report v0.0.0
	github.com/tracer-framework/tracer/services/tracemap v0.0.0
)

require (
	github.com/goccy/go-yaml v1.19.2 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/mitchellh/colorstring v0.0.0-20190213212951-d06e56a500db // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	github.com/rogpeppe/go-internal v1.16.0 // indirect
	github.com/schollz/progressbar/v3 v3.19.1 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/term v0.47.0 // indirect
)

replace github.com/tracer-framework/tracer/pkg => ../../pkg

replace github.com/tracer-framework/tracer/schemas => ../../schemas

replace github.com/tracer-framework/tracer/services/ingest => ../ingest

replace github.com/tracer-framework/tracer/services/fingerprint => ../fingerprint

replace github.com/tracer-framework/tracer/services/archive => ../archive

replace github.com/tracer-framework/tracer/services/tracemap => ../tracemap

replace github.com/tracer-framework/tracer/services/report => ../report
