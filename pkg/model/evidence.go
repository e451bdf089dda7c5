package model

// Evidence is a thing that conclusions rest on: an input, a sealed batch of records, an
// event or an issued report. Table evidence. Its id is the SHA-256 of its bytes, so the id
// is also the proof that the bytes are the same.
type Evidence struct {
	EvidenceID string `json:"evidence_id"` // SHA-256 (hex) of the bytes
	Kind       string `json:"kind"`        // capture, batch, event, report
	Parent     string `json:"parent"`      // batch: evidence_id of the capture it was read from; report: case_id
	Name       string `json:"name"`        // base name of the file; batch: its event id
	URI        string `json:"uri"`         // where the bytes were or are
	Size       uint64 `json:"size"`
	MediaType  string `json:"media_type"`

	FirstPacket Time     `json:"first_packet"` // earliest packet time
	LastPacket  Time     `json:"last_packet"`  // latest packet time
	Packets     uint64   `json:"packets"`      // packets read
	Flows       uint64   `json:"flows"`
	Batches     uint32   `json:"batches"` // capture: number of batches its records were published in
	LinkTypes   []string `json:"link_types"`

	BytesRead   uint64            `json:"bytes_read"`   // of the (decompressed) input, headers included
	BytesUnread uint64            `json:"bytes_unread"` // bytes behind the damage that could not be read
	Problems    []string          `json:"problems"`     // one sentence each, sorted: what could not be read, where
	Counters    map[string]uint64 `json:"counters"`     // everything that was counted while reading

	Tool        string `json:"tool"`
	ToolVersion string `json:"tool_version"`
	Sealed      Time   `json:"sealed"`     // when the ledger took it
	LeafIndex   uint64 `json:"leaf_index"` // its place in the ledger
}
