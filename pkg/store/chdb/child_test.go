package chdb_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tracer-framework/tracer/pkg/model"
	"github.com/tracer-framework/tracer/pkg/record"
	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/store/chdb"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

// childOpen opens the folder, says so, and with "wait" stays until its input ends.
func childOpen(args []string) error {
	e, err := chdb.Open(chdb.Config{Path: args[0], MaxMemory: 2 << 30})
	if err != nil {
		return err
	}
	fmt.Println("open")
	if len(args) > 1 {
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			return err
		}
	}
	return e.Close(context.Background())
}

func childStore(dir string) (*chdb.Engine, *store.Store, error) {
	e, err := chdb.Open(chdb.Config{Path: dir, MaxMemory: 2 << 30})
	if err != nil {
		return nil, nil, err
	}
	s, err := store.Open(context.Background(), store.Config{Transport: e.Transport()})
	if err != nil {
		return nil, nil, err
	}
	return e, s, s.Migrate(context.Background())
}

const killRows = 500

// childInsert inserts batches of killRows flows from the number given on and says which
// are stored, until it is killed.
func childInsert(args []string) error {
	_, s, err := childStore(args[0])
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	b := record.NewBatch()
	for n := first; ; n++ {
		b.Reset()
		for i := range killRows {
			b.Flow.Append(&model.Flow{FlowID: model.FlowID(n*killRows + i), FirstPacket: uint64(n), Start: 1_700_000_000_000_000})
		}
		if err := s.Insert(context.Background(), strconv.Itoa(n), b); err != nil {
			return err
		}
		fmt.Println("stored", n)
	}
}

// childCount prints per batch how many rows are there.
func childCount(args []string) error {
	e, s, err := childStore(args[0])
	if err != nil {
		return err
	}
	r, err := s.QueryReadOnly(context.Background(), "SELECT first_packet, count() FROM flow GROUP BY first_packet ORDER BY first_packet", "CSV")
	if err != nil {
		return err
	}
	if _, err := io.Copy(os.Stdout, r); err != nil {
		return err
	}
	r.Close()
	return e.Close(context.Background())
}

// childAsk uses the store of another process over HTTP.
func childAsk(args []string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{DSN: args[0]})
	if err != nil {
		return err
	}
	if err := s.Migrate(ctx); err != nil {
		return err
	}
	b := record.NewBatch()
	for i := range 3 {
		b.Flow.Append(&model.Flow{FlowID: model.FlowID(i)})
	}
	if err := s.Insert(ctx, "", b); err != nil {
		return err
	}
	var n uint64
	if err := s.Conn().QueryRow(ctx, "SELECT count() FROM flow").Scan(&n); err != nil {
		return err
	}
	r, err := s.QueryReadOnly(ctx, "SELECT count() FROM flow", "CSV")
	if err != nil {
		return err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if string(text) != fmt.Sprintln(n) {
		return fmt.Errorf("read-only count %q, count %d", text, n)
	}
	fmt.Println("stored and read", n, "flows")
	return nil
}

// TestKill kills a process in the middle of its inserts, a few times over: what it said is
// stored must be there, and no batch in part.
func TestKill(t *testing.T) {
	testkit.Engine(t)
	dir := filepath.Join(t.TempDir(), "data")
	stored := map[int]bool{}
	next := 0
	for round := range 3 {
		cmd := child("insert", dir, strconv.Itoa(next))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(2*time.Second+time.Duration(round)*137*time.Millisecond, func() { _ = cmd.Process.Kill() })
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			n, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "stored "))
			if err != nil {
				t.Fatalf("child said %q", lines.Text())
			}
			stored[n], next = true, n+1
		}
		_ = cmd.Wait()
		next++ // the batch that was being inserted may be there or not
		counted, err := child("count", dir).Output()
		if err != nil {
			t.Fatalf("reopen: %v\n%s", err, counted)
		}
		there := map[int]bool{}
		for line := range strings.SplitSeq(string(bytes.TrimSpace(counted)), "\n") {
			var n, rows int
			if _, err := fmt.Sscanf(line, "%d,%d", &n, &rows); err != nil {
				t.Fatalf("count said %q", line)
			}
			if rows != killRows {
				t.Errorf("round %d: batch %d has %d rows of %d", round, n, rows, killRows)
			}
			there[n] = true
		}
		for n := range stored {
			if !there[n] {
				t.Errorf("round %d: batch %d was acknowledged and is gone", round, n)
			}
		}
	}
	if len(stored) < 3 {
		t.Errorf("only %d batches in all: the kills came too early", len(stored))
	}
	t.Logf("%d batches stored over 3 kills", len(stored))
}
