package bus

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// stream is one row of the table of streams.
type stream struct {
	name      string
	subjects  []string
	retention jetstream.RetentionPolicy
	maxAge    time.Duration // 0: no limit
	bulk      bool          // takes the size limit of bulk streams
	about     string
}

const (
	dlqStream = "DLQ"
	dlqPrefix = "tracer.v1.dlq."

	keep = 30 * 24 * time.Hour
)

// streams is every stream. Observed and recognized flows have a stream each: if they
// shared one, fingerprint could not publish its result while the stream is full, and so
// never make room.
//
// A bulk message leaves its stream once its consumer acknowledged it (interest
// retention); small events stay for 30 days, so that a SIEM may attach late. Every stream
// refuses new messages when it is full rather than drop old ones: that is the backpressure.
var streams = []stream{
	{"FLOW_OBSERVED", []string{"tracer.v1.flow.observed.*"}, jetstream.InterestPolicy, 0, true, "flows as ingest read them, on the way to fingerprint"},
	{"FLOW_RECOGNIZED", []string{"tracer.v1.flow.recognized.*"}, jetstream.InterestPolicy, 0, true, "flows with fingerprints, on the way to archive"},
	{"CASE", []string{"tracer.v1.case.>"}, jetstream.LimitsPolicy, keep, false, "cases and their stages"},
	{"DETECTION", []string{"tracer.v1.detection.>", "tracer.v1.finding.>"}, jetstream.LimitsPolicy, keep, false, "detections and findings"},
	{"TRACE", []string{"tracer.v1.trace.>"}, jetstream.LimitsPolicy, keep, false, "traces"},
	{"REPORT", []string{"tracer.v1.report.>"}, jetstream.LimitsPolicy, keep, false, "issued reports"},
	{"EVIDENCE", []string{"tracer.v1.evidence.>"}, jetstream.LimitsPolicy, keep, false, "what the ledger sealed"},
	{dlqStream, []string{
		dlqPrefix + ">",
		"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
		"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>",
	}, jetstream.LimitsPolicy, 0, false, "dead letters, and the server's own notes about them"},
}

// consumer is a durable pull consumer on one stream.
type consumer struct {
	stream string
	filter []string // subjects; none: all of the stream
}

// durable is one row of the table of durables: a name, and a JetStream consumer of that
// name on each stream it reads.
type durable struct {
	name string
	on   []consumer
}

// durables is every durable consumer.
var durables = []durable{
	{"ingest", []consumer{{"CASE", []string{"tracer.v1.case.opened"}}}},
	{"fingerprint", []consumer{{"FLOW_OBSERVED", nil}}},
	{"detect", []consumer{{"CASE", []string{"tracer.v1.case.opened"}}}},
	{"archive-flow", []consumer{{"FLOW_RECOGNIZED", nil}}},
	{"archive-event", []consumer{{"CASE", nil}, {"DETECTION", nil}, {"TRACE", nil}, {"REPORT", nil}}},
	{"tracemap", []consumer{{"CASE", []string{"tracer.v1.case.updated"}}}},
	{"report", []consumer{{"CASE", []string{"tracer.v1.case.updated"}}}},
}

// bucket is one key-value bucket.
type bucket struct {
	name    string
	history uint8
	about   string
}

// buckets is every key-value bucket.
var buckets = []bucket{
	{"ingest", 1, "inputs that are read to the end"},
	{"profiles", 16, "threat profiles in force and their former versions"},
	{"config", 16, "configuration that services reload"},
}

func durableNamed(name string) (durable, bool) {
	for _, d := range durables {
		if d.name == name {
			return d, true
		}
	}
	return durable{}, false
}

// Durables lists the names of the durable consumers.
func Durables() []string {
	out := make([]string, len(durables))
	for i, d := range durables {
		out[i] = d.name
	}
	return out
}
