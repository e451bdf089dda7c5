package verify

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// leaf is what a ledger entry says.
type leaf struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Parent string `json:"parent"`
	Sealed string `json:"sealed"`
	SHA256 string `json:"sha256"`
	Size   uint64 `json:"size"`

	index uint64
}

// String names the leaf for people.
func (l *leaf) String() string {
	if l.Kind == "report" || l.Kind == "capture" {
		return fmt.Sprintf("%s %s (ledger entry %d)", l.Kind, l.Name, l.index)
	}
	return fmt.Sprintf("%s %s (ledger entry %d)", l.Kind, l.ID, l.index)
}

func parseLeaf(data []byte, index uint64) (leaf, error) {
	l := leaf{index: index}
	if err := decodeStrict(data, &l); err != nil {
		return l, err
	}
	if l.Kind == "" || l.ID == "" || l.Sealed == "" || !isSHA256(l.SHA256) {
		return l, errors.New("kind, id, sealed or sha256 missing")
	}
	return l, nil
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && strings.ToLower(s) == s
}

// decodeStrict reads one JSON value without unknown fields and nothing behind it.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
