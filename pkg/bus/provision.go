package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ProvisionOptions size what Provision creates. Zero values take the defaults.
type ProvisionOptions struct {
	Replicas  int           // copies of each stream, 1 to 5; default 1
	BulkBytes int64         // size limit of each bulk stream in bytes; default 4 GiB
	Bytes     int64         // size limit of each other stream in bytes; default 1 GiB
	AckWait   time.Duration // silence after which a message is given to another worker; default 30 s
}

// Defaults of ProvisionOptions and of consumers.
const (
	DefaultBulkBytes = 4 << 30
	DefaultBytes     = 1 << 30
	DefaultAckWait   = 30 * time.Second

	dedupeWindow  = 10 * time.Minute
	maxAckPending = 1024
)

// Provision creates the streams, then their durable consumers, then the key-value buckets,
// or brings existing ones to this state. It must have run once before the first publish: a
// bulk stream keeps a message only while a consumer is there to want it.
func Provision(ctx context.Context, b *Bus, p ProvisionOptions) error {
	if p.Replicas == 0 {
		p.Replicas = 1
	}
	if p.BulkBytes == 0 {
		p.BulkBytes = DefaultBulkBytes
	}
	if p.Bytes == 0 {
		p.Bytes = DefaultBytes
	}
	if p.AckWait == 0 {
		p.AckWait = DefaultAckWait
	}
	for _, s := range streams {
		limit := p.Bytes
		if s.bulk {
			limit = p.BulkBytes
		}
		_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name:        s.name,
			Description: s.about,
			Subjects:    s.subjects,
			Retention:   s.retention,
			Storage:     jetstream.FileStorage,
			Discard:     jetstream.DiscardNew,
			MaxBytes:    limit,
			MaxAge:      s.maxAge,
			Duplicates:  dedupeWindow,
			Replicas:    p.Replicas,
			AllowDirect: true,
		})
		if err != nil {
			return fmt.Errorf("provision stream %s: %w", s.name, err)
		}
	}
	for _, d := range durables {
		for _, c := range d.on {
			cfg := jetstream.ConsumerConfig{
				Durable:       d.name,
				DeliverPolicy: jetstream.DeliverAllPolicy,
				AckPolicy:     jetstream.AckExplicitPolicy,
				AckWait:       p.AckWait,
				// How often a message is tried is counted by Consume: the server
				// would also count the attempts that a crash or a restart cut off.
				MaxDeliver:     -1,
				MaxAckPending:  maxAckPending,
				FilterSubjects: c.filter,
				Replicas:       p.Replicas,
			}
			if _, err := b.js.CreateOrUpdateConsumer(ctx, c.stream, cfg); err != nil {
				return fmt.Errorf("provision consumer %s of stream %s: %w", d.name, c.stream, err)
			}
		}
	}
	for _, k := range buckets {
		_, err := b.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: k.name, Description: k.about, History: k.history, Storage: jetstream.FileStorage, Replicas: p.Replicas,
		})
		if err != nil {
			return fmt.Errorf("provision key-value bucket %s: %w", k.name, err)
		}
	}
	return nil
}
