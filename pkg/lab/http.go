package lab

import (
	"fmt"
	"strings"
	"time"
)

// httpRequest is one HTTP/1.1 exchange.
type httpRequest struct {
	method, host, path string
	agent              string
	headers            []string // further request lines
	body               []byte
	status             string // "200 OK"
	kind               string // Content-Type of the answer, "" for none
	server             string
	extra              []string // further response lines
	answer             []byte
}

// http sends a request and its answer over an established connection.
func (c *conversation) http(q httpRequest) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", q.method, q.path, q.host)
	if q.agent != "" {
		fmt.Fprintf(&b, "User-Agent: %s\r\n", q.agent)
	}
	for _, h := range q.headers {
		b.WriteString(h + "\r\n")
	}
	if len(q.body) > 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(q.body))
	}
	b.WriteString("\r\n")
	c.send(orig, append([]byte(b.String()), q.body...))
	c.pause(c.r.think(9*time.Millisecond, 0.7))

	b.Reset()
	fmt.Fprintf(&b, "HTTP/1.1 %s\r\nDate: %s\r\n", q.status, time.Unix(0, c.t).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
	if q.server != "" {
		fmt.Fprintf(&b, "Server: %s\r\n", q.server)
	}
	if q.kind != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", q.kind)
	}
	for _, h := range q.extra {
		b.WriteString(h + "\r\n")
	}
	if !strings.HasPrefix(q.status, "304") && !strings.HasPrefix(q.status, "204") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(q.answer))
	}
	b.WriteString("\r\n")
	out := append(c.w.scratch[:0], b.String()...)
	if q.method != "HEAD" {
		out = append(out, q.answer...)
	}
	c.w.scratch = out
	c.send(resp, out)
}

// browserHeaders are what a browser adds to a request for a page.
func browserHeaders(r *random, referrer string) []string {
	h := []string{
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
		"Accept-Encoding: gzip, deflate",
		"Accept-Language: " + pick(r, []string{"en-US,en;q=0.9", "en-GB,en;q=0.8", "de-DE,de;q=0.9,en;q=0.7", "fr-FR,fr;q=0.8,en;q=0.5"}),
		"Connection: keep-alive",
	}
	if referrer != "" {
		h = append(h, "Referer: "+referrer)
	}
	return append(h, "Upgrade-Insecure-Requests: 1")
}

var words = strings.Fields(`account address annual answer archive article bridge budget calendar canal catalogue chapter
city client committee company conference council country customer data delivery department design detail document
drawing energy engineer event exhibition factory field figure finance forest form garden gate guide harbour history
house information island journal kitchen label ladder letter library machine market material measure member meeting
message method minute mountain museum network notice number office order paper park partner people plan platform
policy pressure price process product project quality question railway record region report request river road
safety sample school season service shop signal standard station street structure student supply system table
theatre ticket tower town trade traffic travel valley village visit water weather window winter work yard`)

// page writes an HTML page of about n bytes.
func page(r *random, title string, n int) []byte {
	b := []byte("<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>" + title + "</title>\n<link rel=\"stylesheet\" href=\"/static/site.css\"></head>\n<body>\n")
	for len(b) < n {
		b = append(b, "<p>"...)
		for range r.span(12, 40) {
			b = append(append(b, pick(r, words)...), ' ')
		}
		b = append(b, "</p>\n"...)
	}
	return append(b, "</body></html>\n"...)
}

// picture is about n bytes in the form of a JPEG file whose content is comments.
func picture(r *random, n int) []byte {
	b := append([]byte{0xff, 0xd8, 0xff, 0xe0, 0, 0x10}, "JFIF\x00\x01\x01\x00\x00\x48\x00\x48\x00\x00"...)
	for n > len(b) {
		k := min(n-len(b), 60000)
		b = append(b, 0xff, 0xfe, byte((k+2)>>8), byte(k+2))
		b = r.append(b, k)
	}
	return append(b, 0xff, 0xd9)
}

// executable is n bytes that begin like an ELF program for x86-64. Nothing in it can run:
// what follows the header is random.
func executable(r *random, n int) []byte {
	b := append([]byte{0x7f}, "ELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	b = append(b, 2, 0, 0x3e, 0, 1, 0, 0, 0)
	b = append(b, 0x40, 0x10, 0x40, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0)
	return r.append(b, n-len(b))
}
