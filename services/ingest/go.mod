module github.com/tracer-framework/tracer/services/ingest

go 1.26
