package chdb

import "testing"

func TestParseStatement(t *testing.T) {
	for _, c := range []struct {
		sql  string
		want statement
	}{
		{"SELECT 1", statement{kind: selects}},
		{"  -- note\n/* x */ with 1 as x select x", statement{kind: selects}},
		{"(SELECT 1) UNION ALL (SELECT 2)", statement{kind: selects}},
		{"SELECT format('{}', 'FORMAT CSV') FORMAT JSON", statement{kind: selects, format: "JSON"}},
		{"SELECT 1 format Pretty SETTINGS max_threads = 1", statement{kind: selects, format: "Pretty"}},
		{"SELECT * FROM (SELECT 1 FORMAT CSV)", statement{kind: selects}},
		{"INSERT INTO t FORMAT Native", statement{kind: insertData, head: "INSERT INTO t ", format: "Native"}},
		{"INSERT INTO t (a, `values`) VALUES", statement{kind: insertData, head: "INSERT INTO t (a, `values`) ", format: "Values"}},
		{"INSERT INTO t VALUES (1)", statement{kind: insertData, head: "INSERT INTO t ", format: "Values", inline: true}},
		{"INSERT INTO t FORMAT CSV\n1,2", statement{kind: insertData, head: "INSERT INTO t ", format: "CSV", inline: true}},
		{"INSERT INTO t (a)", statement{kind: insertData, head: "INSERT INTO t (a)"}},
		{"INSERT INTO t SELECT 1", statement{}},
		{"INSERT INTO t (a) WITH 1 AS x SELECT x", statement{}},
		{"INSERT INTO `select` VALUES", statement{kind: insertData, head: "INSERT INTO `select` ", format: "Values"}},
		{"SET max_threads = 1", statement{kind: setsSession}},
		{"use other", statement{kind: setsSession}},
		{"CREATE TABLE t (x UInt8) ENGINE = Memory", statement{}},
		{"", statement{}},
		{"'", statement{}},
	} {
		if got := parseStatement(c.sql); got != c.want {
			t.Errorf("%q:\n got %+v\nwant %+v", c.sql, got, c.want)
		}
	}
}

func TestRefuseReadOnly(t *testing.T) {
	for _, sql := range []string{
		"SELECT file('/etc/passwd')",
		"SELECT FILE('/etc/passwd')",
		"SELECT `file`('/etc/passwd')",
		"SELECT \"file\"('/etc/passwd')",
		"SELECT `fil\\x65`('/etc/passwd')",
		"SELECT arrayMap(file, ['/etc/passwd'])",
		"SELECT * APPLY (file) FROM (SELECT '/etc/passwd')",
		"SELECT $$'$$, file('/etc/passwd'), $$'$$",
		"/* /* */ ' */ SELECT file('/etc/passwd') /* ' */",
		"// '\nSELECT file('/etc/passwd') // '",
		"SELECT \u2018'\u2019, file('/etc/passwd'), \u2018'\u2019",
		"SELECT * FROM eval('SELECT 1')",
		"SELECT 'open",
		"SELECT `open",
		"SELECT \x001",
	} {
		if refuseReadOnly(sql) == "" {
			t.Errorf("%q is let through", sql)
		}
	}
	for _, sql := range []string{
		"SELECT 'file', \"a b\", `c`, t.file, profile, 'it''s', 'a\\'b', 'ü$//' FROM tracer.file -- file()\n",
		"WITH x AS (SELECT 1) SELECT * FROM x WHERE a <= 3 AND b != '' # file",
		"SELECT * FROM flow WHERE flow_id = 0x00c0ffee00c0ffee /* file */ FORMAT JSON;",
		"SHOW TABLES",
	} {
		if why := refuseReadOnly(sql); why != "" {
			t.Errorf("%q is refused: %s", sql, why)
		}
	}
}

// FuzzStatement looks for texts that make the readers of statements fail.
func FuzzStatement(f *testing.F) {
	for _, s := range []string{"INSERT INTO t (`a`) VALUES ('x''y')", "SELECT 1 FORMAT JSON", "/* -- ' */ SELECT \"a\"", "'\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		st := parseStatement(sql)
		if len(st.head) > len(sql) {
			t.Fatal("head is longer than the statement")
		}
		refuseReadOnly(sql)
	})
}
