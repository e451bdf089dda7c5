package evidence_test

import (
	"testing"

	"github.com/tracer-framework/tracer/pkg/evidence/verify"
)

// verifyClean fails unless the independent verifier finds nothing wrong with the ledger.
func verifyClean(t *testing.T, dir string) {
	t.Helper()
	r, err := verify.Dir(t.Context(), dir, verify.Options{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Fatalf("verify: %q", r.Problems)
	}
}
