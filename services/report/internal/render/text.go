// Package render writes a report as HTML, Markdown and an ATT&CK Navigator layer. All
// names in it come from hostile traffic: nothing is written without being escaped.
package render

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds one value taken from traffic.
const maxText = 2000

// Visible makes every character of a text that would not be seen, or would change how the
// rest is seen, visible: control characters, bidirectional marks, zero-width characters
// and bytes that are not UTF-8. A reader must not be deceived by a name in the traffic.
func Visible(s string) string {
	if plain(s) && len(s) <= maxText {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if b.Len() > maxText {
			fmt.Fprintf(&b, "… (%d bytes in all)", len(s))
			break
		}
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case hidden(r):
			if r < 0x100 {
				fmt.Fprintf(&b, `\x%02x`, r)
			} else {
				fmt.Fprintf(&b, `\u{%x}`, r)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// narrowSpace is the thin space that does not break, which the report itself uses.
const narrowSpace = '\u202f'

func hidden(r rune) bool {
	if r == narrowSpace {
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Co, r) ||
		unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || r == '\u3164' || r == '\u115f' || r == '\u1160' || r == '\uffa0' ||
		unicode.Is(unicode.Zs, r) && r != ' '
}

// markdownSpecial are the characters that mean something in Markdown (CommonMark and
// GitHub's tables and links).
const markdownSpecial = "\\`*_{}[]#+|~$^"

// Markdown escapes a text so that it is read as it is, never as markup.
func Markdown(s string) string {
	s = Visible(s)
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case r == '@':
			b.WriteString("&#64;")
		case strings.ContainsRune(markdownSpecial, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	out := b.String()
	// A viewer must not turn a name into a link that can be clicked by accident.
	out = strings.ReplaceAll(out, "://", ":&#47;&#47;")
	return strings.ReplaceAll(out, "www.", "www&#46;")
}
