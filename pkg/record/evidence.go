package record

import "github.com/tracer-framework/tracer/pkg/model"

// Evidences are rows of table evidence.
type Evidences struct {
	EvidenceID  Text
	Kind        Word
	Parent      Text
	Name        Text
	URI         Text
	Size        Uint[uint64]
	MediaType   Word
	FirstPacket Time
	LastPacket  Time
	Packets     Uint[uint64]
	Flows       Uint[uint64]
	Batches     Uint[uint32]
	LinkTypes   Words
	BytesRead   Uint[uint64]
	BytesUnread Uint[uint64]
	Problems    Texts
	Counters    Counters
	Tool        Word
	ToolVersion Word
	Sealed      Time
	LeafIndex   Uint[uint64]

	table []named
}

func (c *Evidences) columns() []named {
	if c.table == nil {
		c.LinkTypes.bind()
		c.Problems.bind()
		c.Counters.bind()
		c.table = []named{
			{"evidence_id", &c.EvidenceID},
			{"kind", &c.Kind},
			{"parent", &c.Parent},
			{"name", &c.Name},
			{"uri", &c.URI},
			{"size", &c.Size},
			{"media_type", &c.MediaType},
			{"first_packet", &c.FirstPacket},
			{"last_packet", &c.LastPacket},
			{"packets", &c.Packets},
			{"flows", &c.Flows},
			{"batches", &c.Batches},
			{"link_types", &c.LinkTypes},
			{"bytes_read", &c.BytesRead},
			{"bytes_unread", &c.BytesUnread},
			{"problems", &c.Problems},
			{"counters", &c.Counters},
			{"tool", &c.Tool},
			{"tool_version", &c.ToolVersion},
			{"sealed", &c.Sealed},
			{"leaf_index", &c.LeafIndex},
		}
	}
	return c.table
}

// Append adds a row.
func (c *Evidences) Append(v *model.Evidence) {
	c.EvidenceID.Append(v.EvidenceID)
	c.Kind.Append(v.Kind)
	c.Parent.Append(v.Parent)
	c.Name.Append(v.Name)
	c.URI.Append(v.URI)
	c.Size.Append(v.Size)
	c.MediaType.Append(v.MediaType)
	c.FirstPacket.Append(v.FirstPacket)
	c.LastPacket.Append(v.LastPacket)
	c.Packets.Append(v.Packets)
	c.Flows.Append(v.Flows)
	c.Batches.Append(v.Batches)
	c.LinkTypes.Append(v.LinkTypes)
	c.BytesRead.Append(v.BytesRead)
	c.BytesUnread.Append(v.BytesUnread)
	c.Problems.Append(v.Problems)
	c.Counters.Append(v.Counters)
	c.Tool.Append(v.Tool)
	c.ToolVersion.Append(v.ToolVersion)
	c.Sealed.Append(v.Sealed)
	c.LeafIndex.Append(v.LeafIndex)
}

// Row writes row i to v.
func (c *Evidences) Row(i int, v *model.Evidence) {
	v.EvidenceID = c.EvidenceID.Row(i)
	v.Kind = c.Kind.Row(i)
	v.Parent = c.Parent.Row(i)
	v.Name = c.Name.Row(i)
	v.URI = c.URI.Row(i)
	v.Size = c.Size.Row(i)
	v.MediaType = c.MediaType.Row(i)
	v.FirstPacket = c.FirstPacket.Row(i)
	v.LastPacket = c.LastPacket.Row(i)
	v.Packets = c.Packets.Row(i)
	v.Flows = c.Flows.Row(i)
	v.Batches = c.Batches.Row(i)
	v.LinkTypes = c.LinkTypes.Row(i)
	v.BytesRead = c.BytesRead.Row(i)
	v.BytesUnread = c.BytesUnread.Row(i)
	v.Problems = c.Problems.Row(i)
	v.Counters = c.Counters.Row(i)
	v.Tool = c.Tool.Row(i)
	v.ToolVersion = c.ToolVersion.Row(i)
	v.Sealed = c.Sealed.Row(i)
	v.LeafIndex = c.LeafIndex.Row(i)
}

// Rows is the number of rows.
func (c *Evidences) Rows() int { return c.EvidenceID.Rows() }

// Reset drops all rows and keeps the memory.
func (c *Evidences) Reset() { reset(c.columns()) }
