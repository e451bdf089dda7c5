package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	keyFile        = "ledger.key"
	pubFile        = "ledger.pub"
	checkpointFile = "checkpoint"
	lockFile       = "ledger.lock"
)

// NewKey makes an Ed25519 key pair in the forms of C2SP signed-note: the private key as it
// stands in ledger.key, and the verifier key of ledger.pub. The name of both, which is the
// origin of the checkpoints, is "tracer/" and the first 8 bytes of the SHA-256 of the
// public key in hexadecimal.
func NewKey() (private, public string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make ledger key: %w", err)
	}
	sum := sha256.Sum256(pub)
	name := "tracer/" + hex.EncodeToString(sum[:8])
	public, err = note.NewEd25519VerifierKey(name, pub)
	if err != nil {
		return "", "", fmt.Errorf("make ledger key: %w", err)
	}
	const ed25519Algorithm = 1 // of signed-note
	hash := strings.Split(public, "+")[1]
	secret := append([]byte{ed25519Algorithm}, priv.Seed()...)
	return "PRIVATE+KEY+" + name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(secret), public, nil
}

// publicOf derives the verifier key of a private key.
func publicOf(private string) (string, error) {
	parts := strings.SplitN(private, "+", 5)
	if len(parts) != 5 {
		return "", errors.New("expected PRIVATE+KEY+<name>+<hash>+<key>")
	}
	secret, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(secret) != 1+ed25519.SeedSize {
		return "", errors.New("expected an Ed25519 key of 32 bytes")
	}
	pub, ok := ed25519.NewKeyFromSeed(secret[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("expected an Ed25519 key")
	}
	return note.NewEd25519VerifierKey(parts[2], pub)
}

// keys of a ledger.
type keys struct {
	signer   note.Signer
	verifier note.Verifier
	public   string // verifier key
}

// openKeys reads the private key, from path if given, else from the ledger; a new ledger
// without a path gets a new key. ledger.pub is written, or compared.
func openKeys(dir, path string, isNew bool, d disk) (*keys, error) {
	own := path == ""
	if own {
		path = filepath.Join(dir, keyFile)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && own {
		if !isNew {
			return nil, fmt.Errorf("open ledger key: %s is missing, but the ledger was begun with it; put it back or start a new ledger", path)
		}
		private, _, err := NewKey()
		if err != nil {
			return nil, err
		}
		text = []byte(private + "\n")
		if err := d.write(file{path: path, data: text}); err != nil {
			return nil, fmt.Errorf("write ledger key: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("open ledger key: %w", err)
	}
	private := strings.TrimSpace(string(text))
	k := &keys{}
	if k.public, err = publicOf(private); err != nil {
		return nil, fmt.Errorf("read ledger key %s: %w", path, err)
	}
	if k.signer, err = note.NewSigner(private); err != nil {
		return nil, fmt.Errorf("read ledger key %s: %w", path, err)
	}
	if k.verifier, err = note.NewVerifier(k.public); err != nil {
		return nil, fmt.Errorf("read ledger key %s: %w", path, err)
	}
	pubPath := filepath.Join(dir, pubFile)
	want := []byte(k.public + "\n")
	have, err := os.ReadFile(pubPath)
	switch {
	case errors.Is(err, fs.ErrNotExist) && isNew:
		if err := d.write(file{path: pubPath, data: want, mode: 0o644}); err != nil {
			return nil, fmt.Errorf("write public key of the ledger: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("read public key of the ledger: %w", err)
	case !bytes.Equal(have, want):
		return nil, fmt.Errorf("open ledger: %s is not the public key of %s", pubPath, path)
	}
	return k, nil
}
