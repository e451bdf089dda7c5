package store

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tracer-framework/tracer/pkg/record"
)

// columnLists is per table "(a, b, ...)" in the order of the record columns.
var columnLists = sync.OnceValue(func() map[string]string {
	out := make(map[string]string)
	for _, t := range record.Tables() {
		names := make([]string, len(t.Columns))
		for i, c := range t.Columns {
			names[i] = quoteName(c.Name)
		}
		out[t.Name] = "(" + strings.Join(names, ", ") + ")"
	}
	return out
})

// attemptTime bounds one attempt to insert a block: a server that hangs is asked again.
const attemptTime = 5 * time.Minute

// InsertNative stores one Native block as it is. Blocks with the same non-empty token are
// stored once as long as the table remembers the token. While the store cannot be reached
// or its disk is full it waits and tries again until ctx is done; a block that the table
// does not take is an error at once.
func (s *Store) InsertNative(ctx context.Context, table, token string, block []byte) error {
	columns, ok := columnLists()[table]
	if !ok {
		return fmt.Errorf("insert: table %q is not known", table)
	}
	sql := "INSERT INTO " + quoteName(s.cfg.Database) + "." + quoteName(table) + " " + columns + " FORMAT Native"
	parameters := map[string]string{
		"optimize_on_insert": "0", // rows are replaced by merges and FINAL; on insert it doubled the time
	}
	if token != "" {
		parameters["insert_deduplication_token"] = token
	}
	return s.retry(ctx, "insert "+table, func() error {
		ctx, cancel := context.WithTimeout(ctx, attemptTime)
		defer cancel()
		resp, err := s.post(ctx, s.cfg.Database, sql, parameters, bytes.NewReader(block))
		if err != nil {
			return err
		}
		return drain(resp)
	})
}

// Insert stores the rows of every kind of a batch, each kind with the token
// "<token>/<table>" if token is not empty.
func (s *Store) Insert(ctx context.Context, token string, b *record.Batch) error {
	blocks, err := b.Native()
	if err != nil {
		return err
	}
	for _, block := range blocks {
		name := ""
		if token != "" {
			name = token + "/" + block.Table
		}
		if err := s.InsertNative(ctx, block.Table, name, block.Native); err != nil {
			return err
		}
	}
	return nil
}
