package render

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"

	"github.com/tracer-framework/tracer/services/report/internal/content"
)

//go:embed index.html
var indexHTML string

// CaseRow is a case in the list of cases.
type CaseRow struct {
	CaseID, Title, Severity    string
	Detections, Traces, Inputs int
	Packets, Flows             uint64
}

// Index writes the page that lists the cases.
func Index(rows []CaseRow) ([]byte, error) {
	tmpl, err := template.New("index").Funcs(template.FuncMap{"see": Visible, "count": content.Count, "rank": content.Rank}).Parse(indexHTML)
	if err != nil {
		return nil, fmt.Errorf("read the index's template: %w", err)
	}
	var b bytes.Buffer
	err = tmpl.Execute(&b, map[string]any{
		"Rows": rows, "Policy": Policy(), "Style": template.CSS(pageCSS), "Script": template.JS(pageJS), //nolint:gosec // constants of this package
	})
	if err != nil {
		return nil, fmt.Errorf("write the index: %w", err)
	}
	return b.Bytes(), nil
}

// CompareSeverity orders severities from none to critical.
func CompareSeverity(a, b string) int { return cmp.Compare(content.Rank(a), content.Rank(b)) }
