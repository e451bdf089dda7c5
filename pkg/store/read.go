package store

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/tracer-framework/tracer/pkg/record"
)

// maxRead bounds the rows that read takes into memory.
const maxRead = 1 << 30

// read runs SELECT over all columns of a table and calls each for every block of rows. The
// condition, which may go on with ORDER BY and LIMIT, names values as {name:Type}.
func (s *Store) read(ctx context.Context, table, condition string, values map[string]any, each func(*record.Batch) error) error {
	columns := strings.Trim(columnLists()[table], "()")
	sql := "SELECT " + columns + " FROM " + quoteName(s.cfg.Database) + "." + quoteName(table) + " FINAL " + condition + " FORMAT Native"
	parameters := make(map[string]string, len(values)+1)
	parameters["default_format"] = "Native"
	for name, v := range values {
		parameters["param_"+name] = parameter(v)
	}
	resp, err := s.post(ctx, s.cfg.Database, sql, parameters, nil)
	if err != nil {
		return fmt.Errorf("read %s: %w", table, err)
	}
	result := newResult(resp)
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(result, maxRead+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", table, err)
	}
	if len(data) > maxRead {
		return fmt.Errorf("read %s: more than %d bytes", table, maxRead)
	}
	b := record.NewBatch()
	for len(data) > 0 {
		rest, err := b.ReadNative(table, data)
		if err != nil {
			return err
		}
		if err := each(b); err != nil {
			return err
		}
		data = rest
	}
	return nil
}

// parameter writes a value as the server reads those of {name:Type}: tab-separated text,
// with quotes inside of lists.
func parameter(v any) string {
	switch v := v.(type) {
	case string:
		return escapeText.Replace(v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = quoteText(s)
		}
		return escapeList.Replace("[" + strings.Join(quoted, ",") + "]")
	}
	return fmt.Sprint(v)
}

var (
	escapeText = strings.NewReplacer("\\", "\\\\", "\t", "\\t", "\n", "\\n", "\r", "\\r", "\x00", "\\0")
	escapeList = strings.NewReplacer("\t", "\\t", "\n", "\\n", "\r", "\\r", "\x00", "\\0")
)
