package verify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// strict64 refuses spare bits and line feeds, so that every bit of a text counts.
var strict64 = base64.StdEncoding.Strict()

func decode64(s string, length int) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line feed within base64")
	}
	b, err := strict64.DecodeString(s)
	if err != nil {
		return nil, err
	}
	if len(b) != length {
		return nil, fmt.Errorf("%d bytes, expected %d", len(b), length)
	}
	return b, nil
}

// key is a verifier key of C2SP signed-note, Ed25519.
type key struct {
	name string
	id   uint32
	pub  ed25519.PublicKey
	text string
}

// parseKey reads name+id+base64(0x01 || public key).
func parseKey(s string) (*key, error) {
	parts := strings.SplitN(s, "+", 3)
	if len(parts) != 3 || parts[0] == "" || strings.ContainsAny(parts[0], " \t\r\n") || !utf8.ValidString(parts[0]) {
		return nil, errors.New("expected <name>+<id>+<key>")
	}
	idBytes, err := hex.DecodeString(parts[1])
	if err != nil || len(idBytes) != 4 || strings.ToLower(parts[1]) != parts[1] {
		return nil, fmt.Errorf("key id %q: expected 8 lower case hexadecimal digits", parts[1])
	}
	raw, err := decode64(parts[2], 1+ed25519.PublicKeySize)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if raw[0] != 1 {
		return nil, fmt.Errorf("key of algorithm %d, expected 1 (Ed25519)", raw[0])
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), raw...))
	if !bytes.Equal(sum[:4], idBytes) {
		return nil, errors.New("the key id does not belong to the name and key")
	}
	return &key{name: parts[0], id: binary.BigEndian.Uint32(idBytes), pub: raw[1:], text: s}, nil
}

// openNote checks the signature of k on a signed note and returns its text. Signatures of
// other keys are counted.
func openNote(msg []byte, k *key) (text string, others int, err error) {
	if !utf8.Valid(msg) {
		return "", 0, errors.New("not UTF-8")
	}
	for _, c := range msg {
		if c < 0x20 && c != '\n' {
			return "", 0, errors.New("control character in a signed note")
		}
	}
	split := bytes.LastIndex(msg, []byte("\n\n"))
	if split < 0 || split+2 == len(msg) || msg[len(msg)-1] != '\n' {
		return "", 0, errors.New("not a signed note")
	}
	text = string(msg[:split+1])
	signed := false
	for line := range strings.SplitSeq(string(msg[split+2:len(msg)-1]), "\n") {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "— "), " ")
		if !ok || !strings.HasPrefix(line, "— ") {
			return text, others, fmt.Errorf("signature line %q is malformed", line)
		}
		sig, err := strict64.DecodeString(rest)
		if err != nil || len(sig) < 5 {
			return text, others, fmt.Errorf("signature line %q is malformed", line)
		}
		if name != k.name || binary.BigEndian.Uint32(sig) != k.id {
			others++
			continue
		}
		if signed || !ed25519.Verify(k.pub, []byte(text), sig[4:]) {
			return text, others, fmt.Errorf("the signature of %s does not hold", k.name)
		}
		signed = true
	}
	if !signed {
		return text, others, fmt.Errorf("not signed by %s", k.name)
	}
	return text, others, nil
}

// checkpoint is the head of a log (C2SP tlog-checkpoint) without extension lines.
type checkpoint struct {
	origin string
	size   uint64
	root   hash
}

// parseCheckpoint reads the text of a checkpoint.
func parseCheckpoint(text string) (checkpoint, error) {
	var c checkpoint
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return c, errors.New("expected the three lines origin, size and root")
	}
	size, err := strconv.ParseUint(lines[1], 10, 62)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return c, fmt.Errorf("size %q is not a number", lines[1])
	}
	root, err := decode64(lines[2], len(c.root))
	if err != nil {
		return c, fmt.Errorf("root: %w", err)
	}
	return checkpoint{origin: lines[0], size: size, root: hash(root)}, nil
}

// openCheckpoint checks signature and origin. The checkpoint is returned as far as it can
// be read even if the signature does not hold; ok tells whether it could be read.
func openCheckpoint(msg []byte, k *key) (c checkpoint, ok bool, others int, err error) {
	text, others, err := openNote(msg, k)
	c, perr := parseCheckpoint(text)
	if err == nil && perr == nil && c.origin != k.name {
		err = fmt.Errorf("origin %q, expected %q", c.origin, k.name)
	}
	return c, perr == nil, others, errors.Join(err, perr)
}
