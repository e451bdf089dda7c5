module github.com/tracer-framework/tracer/services/ingest

go 1.26.0

require (
	github.com/tracer-framework/tracer/pkg v0.0.0
	github.com/tracer-framework/tracer/schemas v0.0.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/gopacket/gopacket v1.7.7 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/miekg/dns v1.1.73 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/tracer-framework/tracer/pkg => ../../pkg

replace github.com/tracer-framework/tracer/schemas => ../../schemas
