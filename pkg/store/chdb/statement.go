package chdb

import (
	"strconv"
	"strings"
)

// kind is how a statement has to be handed to the engine.
type kind int

const (
	other       kind = iota // as a whole, with a whole result
	selects                 // SELECT: the result is streamed
	insertData              // INSERT of rows that come with it
	setsSession             // SET, USE: would change the session for others
)

// statement is what has to be known of a statement before the engine sees it.
type statement struct {
	kind   kind
	head   string // insertData: the statement up to FORMAT or VALUES
	format string // selects, insertData: the format named, empty if none
	inline bool   // insertData: rows follow in the text itself
}

// parseStatement looks at the words of sql outside of quotes, comments and brackets. It
// errs towards "rows follow": an INSERT is taken as one with SELECT only if it has such a
// word.
func parseStatement(sql string) statement {
	w := words{sql: sql}
	first, _, ok := w.next()
	if !ok {
		return statement{}
	}
	switch strings.ToUpper(first) {
	case "SELECT", "WITH", "(":
		w.pos = 0
		return statement{kind: selects, format: w.lastFormat()}
	case "SET", "USE":
		return statement{kind: setsSession}
	case "INSERT":
	default:
		return statement{}
	}
	depth := 0
	for {
		word, start, ok := w.next()
		if !ok {
			return statement{kind: insertData, head: strings.TrimRight(sql, "; \t\r\n")}
		}
		switch word {
		case "(":
			depth++
			continue
		case ")":
			depth--
			continue
		}
		if depth > 0 {
			continue
		}
		switch strings.ToUpper(word) {
		case "SELECT", "WITH", "WATCH":
			return statement{} // INSERT ... SELECT reads no rows from the text
		case "VALUES":
			return statement{kind: insertData, head: sql[:start], format: "Values", inline: rest(sql[w.pos:])}
		case "FORMAT":
			name, _, _ := w.next()
			return statement{kind: insertData, head: sql[:start], format: name, inline: rest(sql[w.pos:])}
		}
	}
}

// lastFormat returns the name behind the last FORMAT outside of brackets.
func (w *words) lastFormat() string {
	name, depth, follows := "", 0, false
	for {
		word, _, ok := w.next()
		switch {
		case !ok:
			return name
		case word == "(":
			depth++
		case word == ")":
			depth--
		case follows:
			name = word
		}
		follows = depth == 0 && strings.EqualFold(word, "FORMAT")
	}
}

// rest reports whether more than white space and a semicolon follows.
func rest(s string) bool { return strings.Trim(s, "; \t\r\n") != "" }

// words walks over the words and brackets of a statement.
type words struct {
	sql  string
	pos  int
	open bool // a quoted text has no end
}

// next returns the next word or bracket and where it starts; quoted texts and names and
// comments are passed over.
func (w *words) next() (word string, start int, ok bool) {
	for w.pos < len(w.sql) {
		c := w.sql[w.pos]
		switch {
		case c == '\'' || c == '"' || c == '`':
			w.quoted(c)
		case strings.HasPrefix(w.sql[w.pos:], "--"), c == '#':
			w.skipPast("\n")
		case strings.HasPrefix(w.sql[w.pos:], "/*"):
			w.pos += 2
			w.skipPast("*/")
		case c == '(' || c == ')':
			w.pos++
			return string(c), w.pos - 1, true
		case wordByte(c):
			start := w.pos
			for w.pos < len(w.sql) && wordByte(w.sql[w.pos]) {
				w.pos++
			}
			return w.sql[start:w.pos], start, true
		default:
			w.pos++
		}
	}
	return "", len(w.sql), false
}

func (w *words) quoted(quote byte) {
	for w.pos++; w.pos < len(w.sql); w.pos++ {
		switch w.sql[w.pos] {
		case '\\':
			w.pos++
		case quote:
			w.pos++
			return // a doubled quote begins another quoted text, which is passed over too
		}
	}
	w.pos, w.open = len(w.sql), true
}

func (w *words) skipPast(end string) {
	i := strings.Index(w.sql[w.pos:], end)
	if i < 0 {
		w.pos = len(w.sql)
		return
	}
	w.pos += i + len(end)
}

func wordByte(c byte) bool {
	return c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// forbidden are functions that take a reader outside of the tables although readonly=1
// lets them pass: file() reads any file of the host, eval() runs a text it is given.
var forbidden = map[string]bool{"file": true, "eval": true}

// refuseReadOnly returns why a read-only statement is not run, "" if nothing is against
// it. It reads names as the engine's lexer does; where the two could differ (escapes in
// names, heredocs, typographic quotes, comments in comments) it refuses.
func refuseReadOnly(sql string) string {
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == '\'':
			end := quoteEnd(sql, i)
			if end < 0 {
				return "a text is not closed"
			}
			i = end
		case c == '"' || c == '`':
			end := quoteEnd(sql, i)
			if end < 0 {
				return "a quoted name is not closed"
			}
			name := sql[i+1 : end-1]
			if strings.ContainsAny(name, "\\\"`") {
				return "a quoted name has an escape in it"
			}
			if forbidden[strings.ToLower(name)] {
				return outside(name)
			}
			i = end
		case strings.HasPrefix(sql[i:], "--"), c == '#':
			n := strings.IndexByte(sql[i:], '\n')
			if n < 0 {
				return ""
			}
			i += n
		case strings.HasPrefix(sql[i:], "/*"):
			n := strings.Index(sql[i+2:], "*/")
			if n < 0 || strings.Contains(sql[i+2:i+2+n], "/*") {
				return "a comment is not closed or has a comment in it"
			}
			i += n + 4
		case c == '$', c == '\\', c >= 0x80, c < ' ' && c != '\n' && c != '\t' && c != '\r', strings.HasPrefix(sql[i:], "//"):
			return "the character " + strconv.QuoteRune(rune(c)) + " is allowed in texts only"
		case wordByte(c):
			start := i
			for i < len(sql) && wordByte(sql[i]) && sql[i] < 0x80 {
				i++
			}
			if word := sql[start:i]; forbidden[strings.ToLower(word)] {
				return outside(word)
			}
		default:
			i++
		}
	}
	return ""
}

func outside(name string) string {
	return "the function " + name + " leads outside of the tables (a table of that name is written with its database before it)"
}

// quoteEnd returns the position behind the quoted text or name at i, -1 if it has no end.
func quoteEnd(sql string, i int) int {
	w := words{sql: sql, pos: i}
	w.quoted(sql[i])
	if w.pos-i < 2 || sql[w.pos-1] != sql[i] || w.open {
		return -1
	}
	return w.pos
}
