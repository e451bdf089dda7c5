package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"text/template"

	"github.com/tracer-framework/tracer/schemas"
)

// migration is one file of schemas/clickhouse.
type migration struct {
	version  uint32
	name     string
	text     string
	checksum string // SHA-256 (hex) of the file, before its template is filled in
}

// dialect fills in the templates: one set of files for a single engine and for a cluster.
type dialect struct {
	Database string
	cluster  string
}

// Local names the table that holds rows on this machine.
func (d dialect) Local(table string) string {
	if d.cluster != "" {
		table += "_local"
	}
	return quoteName(d.Database) + "." + quoteName(table)
}

// OnCluster is the clause that runs a statement on every machine of the cluster.
func (d dialect) OnCluster() string {
	if d.cluster == "" {
		return ""
	}
	return " ON CLUSTER " + quoteName(d.cluster)
}

// Engine is a table engine with its arguments, replicated in a cluster.
func (d dialect) Engine(name string, args ...string) string {
	if d.cluster != "" {
		name = "Replicated" + name
		args = append([]string{"'/clickhouse/tables/{shard}/{database}/{table}'", "'{replica}'"}, args...)
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// Distributed makes the table over all shards. Rows with equal key stay on one shard, so
// that replacing works there.
func (d dialect) Distributed(table, key string) string {
	if d.cluster == "" {
		return ""
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s.%s%s AS %s\nENGINE = Distributed(%s, %s, %s, cityHash64(%s));",
		quoteName(d.Database), quoteName(table), d.OnCluster(), d.Local(table),
		quoteText(d.cluster), quoteText(d.Database), quoteText(table+"_local"), key)
}

// migrations reads the embedded files in order.
func migrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "clickhouse/*.sql")
	if err != nil {
		return nil, err
	}
	var out []migration
	for i, name := range names { // Glob sorts
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		base := strings.TrimSuffix(path.Base(name), ".sql")
		number, title, _ := strings.Cut(base, "_")
		version, err := strconv.ParseUint(number, 10, 32)
		if err != nil || title == "" || version != uint64(i+1) {
			return nil, fmt.Errorf("migration %s: the name must be NNNN_name.sql, numbered from 1 without gaps", name)
		}
		sum := sha256.Sum256(text)
		out = append(out, migration{uint32(version), title, string(text), hex.EncodeToString(sum[:])})
	}
	return out, nil
}

// statements fills in the template and takes it apart.
func (m migration) statements(d dialect) ([]string, error) {
	t, err := template.New(m.name).Parse(m.text)
	if err != nil {
		return nil, fmt.Errorf("migration %d %s: %w", m.version, m.name, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, d); err != nil {
		return nil, fmt.Errorf("migration %d %s: %w", m.version, m.name, err)
	}
	var out []string
	for s := range strings.SplitSeq(b.String()+"\n", ";\n") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out, nil
}

// journal is the table that records which migrations a database has had.
func (d dialect) journal() []string {
	create := fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s%s
(
    version UInt32,
    name String,
    checksum String,
    applied DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = %s
ORDER BY version`, d.Local("schema_migration"), d.OnCluster(), d.Engine("ReplacingMergeTree"))
	out := []string{"CREATE DATABASE IF NOT EXISTS " + quoteName(d.Database) + d.OnCluster(), create}
	if over := d.Distributed("schema_migration", "version"); over != "" {
		out = append(out, strings.TrimSuffix(over, ";"))
	}
	return out
}

// Migrate brings the database to the form this program knows. It may be called by several
// processes and any number of times; a database of a newer program is refused.
func (s *Store) Migrate(ctx context.Context) error {
	return s.migrate(ctx, schemas.ClickHouse)
}

func (s *Store) migrate(ctx context.Context, files fs.FS) error {
	known, err := migrations(files)
	if err != nil {
		return err
	}
	d := dialect{Database: s.cfg.Database, cluster: s.cfg.Cluster}
	for _, sql := range d.journal() {
		if err := s.exec(ctx, sql); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	applied, err := s.applied(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for version := range applied {
		if version > uint32(len(known)) {
			return fmt.Errorf("database %s is of a newer version of tracer (schema %d, this program knows %d): use that version", s.cfg.Database, version, len(known))
		}
	}
	for _, m := range known {
		if sum, ok := applied[m.version]; ok {
			if sum != m.checksum {
				return fmt.Errorf("database %s: migration %d %s was applied with other content than this program has", s.cfg.Database, m.version, m.name)
			}
			continue
		}
		statements, err := m.statements(d)
		if err != nil {
			return err
		}
		for _, sql := range statements {
			if err := s.exec(ctx, sql); err != nil {
				return fmt.Errorf("migration %d %s: %w", m.version, m.name, err)
			}
		}
		note := fmt.Sprintf("INSERT INTO %s.schema_migration (version, name, checksum) SELECT %d, %s, %s",
			quoteName(d.Database), m.version, quoteText(m.name), quoteText(m.checksum))
		if err := s.exec(ctx, note); err != nil {
			return fmt.Errorf("migration %d %s: %w", m.version, m.name, err)
		}
	}
	if len(applied) < len(known) {
		s.log.InfoContext(ctx, "store migrated", "database", s.cfg.Database, "from", len(applied), "to", len(known))
	}
	return nil
}

// applied returns the checksum of each migration the database has had.
func (s *Store) applied(ctx context.Context) (map[uint32]string, error) {
	rows, err := s.conn.Query(ctx, "SELECT version, checksum FROM "+quoteName(s.cfg.Database)+".schema_migration FINAL ORDER BY version")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make(map[uint32]string)
	for rows.Next() {
		var version uint32
		var checksum string
		if err := rows.Scan(&version, &checksum); err != nil {
			return nil, err
		}
		out[version] = checksum
	}
	return out, rows.Err()
}

// quoteName quotes an identifier, quoteText a text literal.
func quoteName(s string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(s) + "`"
}

func quoteText(s string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'").Replace(s) + "'"
}
