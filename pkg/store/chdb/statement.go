package chdb

import "strings"

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
	format string // insertData: the format named, empty if none
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
		return statement{kind: selects}
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

// rest reports whether more than white space and a semicolon follows.
func rest(s string) bool { return strings.Trim(s, "; \t\r\n") != "" }

// words walks over the words and brackets of a statement.
type words struct {
	sql string
	pos int
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
	w.pos = len(w.sql)
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
