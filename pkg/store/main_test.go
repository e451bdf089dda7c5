package store_test

import (
	"os"
	"testing"

	"github.com/tracer-framework/tracer/pkg/store"
	"github.com/tracer-framework/tracer/pkg/testkit"
)

func TestMain(m *testing.M) {
	store.SetTestkit(testkit.OpenStore, testkit.FilledBatch)
	os.Exit(m.Run())
}
