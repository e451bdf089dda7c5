package schemas

import "embed"

// ClickHouse holds the migrations of the store, clickhouse/NNNN_name.sql in the order they
// are applied: text/template files whose statements end with a semicolon at a line's end.
// A file that has been released is never changed; a change is a new file.
//
// The template's methods:
//
//	{{.Local "flow"}}                        name of the table that holds the rows
//	{{.OnCluster}}                           ON CLUSTER clause, nothing without a cluster
//	{{.Engine "ReplacingMergeTree" "seq"}}   engine, its replicated form in a cluster
//	{{.Distributed "flow" "flow_id"}}        the table over all shards, nothing without a cluster
//	{{.Database}}                            name of the database
//
//go:embed clickhouse/*.sql
var ClickHouse embed.FS
