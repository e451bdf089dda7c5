package schemas

import "embed"

// Events holds a folder per event type and version with its JSON Schema (draft 2020-12)
// and an example: events/<type>/schema.json and example.json.
//
//go:embed events
var Events embed.FS

// AsyncAPI is the AsyncAPI 3.0 document of the bus: every subject and what travels on it.
//
//go:embed asyncapi.yaml
var AsyncAPI []byte
