// Package store keeps flows, protocol records, evidence and conclusions in ClickHouse: a
// server or cluster, or the engine inside the process (package chdb) behind the same
// protocol. SQL lives in this package only.
package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Config says where the store is.
type Config struct {
	// DSN is the address of a server's HTTP interface, with credentials and database:
	// http://user:password@host:8123/tracer. Settings may follow as parameters. With
	// Transport only the database matters and the DSN may be empty.
	DSN      string
	Token    string // replaces the password of the DSN
	Cluster  string // name of the cluster the tables are made on; empty: one server
	Sessions int    // connections to use at the same time; 0: 4

	// Transport carries the requests, in the process for the embedded engine; nil: TCP.
	Transport http.RoundTripper
	Log       *slog.Logger // nil: slog.Default()

	Database string // replaces the database of the DSN; "tracer" if neither is given
}

// Store is an open store. Safe for concurrent use.
type Store struct {
	cfg  Config
	log  *slog.Logger
	conn driver.Conn
	http *http.Client
	base *url.URL
	wait backoff
}

// settings are sent with every request. final: rows replaced by newer ones are never seen.
var settings = map[string]any{
	"final": 1,
	"do_not_merge_across_partitions_select_final": 1, // replaced rows share the partition, which is part of their key
	"max_partitions_per_insert_block":             0, // a capture may span years
}

// Open connects to the store, for which it waits until ctx is done. The database need not
// exist yet, see Migrate.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.DSN == "" {
		if cfg.Transport == nil {
			return nil, errors.New("open store: no address given")
		}
		cfg.DSN = "http://default@embedded/"
	}
	base, err := url.Parse(cfg.DSN)
	if err != nil || base.Host == "" {
		return nil, errors.New("open store: the address must be http://user:password@host:port/database")
	}
	if base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("open store: address scheme %q is not http or https", base.Scheme)
	}
	if cfg.Database == "" {
		cfg.Database = strings.Trim(base.Path, "/")
	}
	if cfg.Database == "" {
		cfg.Database = "tracer"
	}
	if cfg.Sessions == 0 {
		cfg.Sessions = 4
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	user, password := "default", cfg.Token
	if base.User != nil {
		if name := base.User.Username(); name != "" {
			user = name
		}
		if p, ok := base.User.Password(); ok && cfg.Token == "" {
			password = p
		}
	}
	extra := clickhouse.Settings{}
	maps.Copy(extra, settings)
	if cfg.Cluster != "" {
		extra["distributed_foreground_insert"] = 1 // answer when the shards have the rows
	}
	for name, values := range base.Query() {
		extra[name] = values[len(values)-1]
	}
	rt := cfg.Transport
	if rt == nil {
		rt = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: time.Hour, // of a query; an attempt to insert ends earlier
			MaxIdleConnsPerHost:   cfg.Sessions,
			IdleConnTimeout:       time.Minute,
		}
	}
	s := &Store{
		cfg: cfg, log: cfg.Log,
		http: &http.Client{Transport: rt},
		base: &url.URL{Scheme: base.Scheme, Host: base.Host, Path: "/", User: url.UserPassword(user, password)},
	}
	query := url.Values{}
	for name, value := range extra {
		query.Set(name, fmt.Sprint(value))
	}
	s.base.RawQuery = query.Encode()
	addr := base.Host
	if base.Port() == "" {
		addr += map[string]string{"http": ":8123", "https": ":8443"}[base.Scheme]
		s.base.Host = addr
	}
	opt := &clickhouse.Options{
		Protocol:     clickhouse.HTTP,
		Addr:         []string{addr},
		Auth:         clickhouse.Auth{Username: user, Password: password, Database: cfg.Database},
		Settings:     extra,
		Compression:  &clickhouse.Compression{Method: clickhouse.CompressionNone},
		MaxOpenConns: cfg.Sessions,
		MaxIdleConns: cfg.Sessions,
		DialTimeout:  10 * time.Second,
		ReadTimeout:  time.Hour,
		TransportFunc: func(*http.Transport) (http.RoundTripper, error) {
			return rt, nil
		},
	}
	if base.Scheme == "https" {
		opt.TLS = &tls.Config{MinVersion: tls.VersionTLS12} // makes the client use https; rt does the rest
	}
	if s.conn, err = clickhouse.Open(opt); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	// Without a database: it may have to be made first.
	err = s.retry(ctx, "first request", func() error { return s.exec(ctx, "SELECT 1") })
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", s.base.Redacted(), err)
	}
	return s, nil
}

// Close gives the connections back. The engine behind an in-process transport stays open.
func (s *Store) Close() error {
	s.http.CloseIdleConnections()
	return s.conn.Close()
}

// Conn is the client for queries; tables need no database before their names. An open rows
// object holds one of Config.Sessions: drain it before the next query.
func (s *Store) Conn() driver.Conn { return s.conn }

// Database is the name of the database.
func (s *Store) Database() string { return s.cfg.Database }

// post sends one statement, with data if body is not nil, and returns the response if the
// server accepted it. Parameters may be settings and param_ values.
func (s *Store) post(ctx context.Context, database, sql string, parameters map[string]string, body io.Reader) (*http.Response, error) {
	u := *s.base
	q := u.Query()
	if database != "" {
		q.Set("database", database)
	}
	for name, value := range parameters {
		q.Set(name, value)
	}
	if body == nil {
		body = strings.NewReader(sql)
	} else {
		q.Set("query", sql)
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
	if err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, readException(resp)
	}
	return resp, nil
}

// exec runs a statement without result; its tables are named with their database.
func (s *Store) exec(ctx context.Context, sql string) error {
	resp, err := s.post(ctx, "", sql, nil, nil)
	if err != nil {
		return err
	}
	return drain(resp)
}

// drain reads a response to its end, for the error that may stand there.
func drain(resp *http.Response) error {
	defer resp.Body.Close()
	_, err := io.Copy(io.Discard, newResult(resp))
	return err
}
