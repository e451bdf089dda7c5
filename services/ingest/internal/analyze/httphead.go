package analyze

import (
	"bytes"
	"encoding/base64"
	"math"
	"strings"

	"github.com/tracer-framework/tracer/pkg/model"
)

type requestLine struct{ method, target, version string }

// parseRequestLine reads "method SP target SP HTTP/x.y" (RFC 9112 section 3); blanks within
// the target are let pass. Servers answer lines without a version too, so these are read:
// their version is empty.
func parseRequestLine(line []byte) (r requestLine, ok bool) {
	line = bytes.TrimRight(line, " \t")
	i := bytes.IndexByte(line, ' ')
	j := bytes.LastIndexByte(line, ' ')
	if i <= 0 || i > 32 {
		return r, false
	}
	for _, ch := range line[:i] {
		if !isTokenChar(ch) {
			return r, false
		}
	}
	version, ok := bytes.CutPrefix(line[j+1:], []byte("HTTP/"))
	if !ok && i == j && line[i+1] == '/' {
		return requestLine{methodString(line[:i]), printable(line[i+1:]), ""}, true
	}
	if !ok || len(version) != 3 || version[0] != '1' || version[1] != '.' || !isDigit(version[2]) {
		return r, false
	}
	var target []byte
	if j > i {
		target = bytes.Trim(line[i+1:j], " ")
	}
	return requestLine{methodString(line[:i]), printable(target), versionString(version)}, true
}

func methodString(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "HEAD":
		return "HEAD"
	}
	return string(b)
}

func versionString(b []byte) string {
	switch string(b) {
	case "1.1":
		return "1.1"
	case "1.0":
		return "1.0"
	}
	return printable(b)
}

type statusLine struct {
	version string
	code    uint16
	reason  []byte
}

// parseStatusLine reads "HTTP/x.y SP 3DIGIT [SP reason]" (RFC 9112 section 4).
func parseStatusLine(line []byte) (s statusLine, ok bool) {
	if matchStatusLine(line) != Yes || len(line) > 12 && line[12] != ' ' {
		return s, false
	}
	s.version = versionString(line[5:8])
	s.code = uint16(line[9]-'0')*100 + uint16(line[10]-'0')*10 + uint16(line[11]-'0')
	if len(line) > 13 {
		s.reason = bytes.TrimRight(clip(line[13:]), " \t")
	}
	return s, true
}

func parseChunkSize(line []byte) (n uint64, ok bool) {
	if i := bytes.IndexByte(line, ';'); i >= 0 { // extensions
		line = line[:i]
	}
	line = bytes.Trim(line, " \t")
	if len(line) == 0 || len(line) > 16 {
		return 0, false
	}
	for _, ch := range line {
		switch {
		case isDigit(ch):
			n = n<<4 | uint64(ch-'0')
		case ch|0x20 >= 'a' && ch|0x20 <= 'f':
			n = n<<4 | uint64(ch|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return n, n <= math.MaxInt64
}

func clip(b []byte) []byte { return b[:min(len(b), httpMaxValue)] }

// httpHead is what the header section of the message being read told about its body.
type httpHead struct {
	length  int64 // Content-Length, -1 if none or not to be believed
	chunked bool  // the last transfer coding is chunked
	coded   bool  // there is another transfer coding
	bad     bool  // contradicting lengths
	bytes   int   // of the section so far
	last    httpField
}

type httpField uint8

// The fields that are read.
const (
	fieldNone httpField = iota
	fieldHost
	fieldUserAgent
	fieldReferer
	fieldAuthorization
	fieldContentType
	fieldContentLength
	fieldTransferEncoding
	fieldContentDisposition
	fieldLocation
)

// field takes one line of the header section. It is false if the limits cut something off.
func (h *httpHead) field(line []byte, r *model.HTTP, kind int, last *httpLast) bool {
	if line[0] == ' ' || line[0] == '\t' { // obs-fold, RFC 9112 section 5.2
		h.fold(bytes.Trim(line, " \t"), r)
		return true
	}
	h.last = fieldNone
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return true
	}
	name, value := bytes.TrimRight(line[:i], " \t"), bytes.Trim(line[i+1:], " \t")
	known, ok := knownFields[string(name)]
	if !ok {
		if len(name) > httpMaxName {
			name = name[:httpMaxName]
		}
		known.name = printable(name)
		var lower [httpMaxName]byte
		known.field = fieldsLower[string(appendLower(lower[:0], name))]
	}
	names := &r.RequestHeaders
	if kind == responses {
		names = &r.ResponseHeaders
	}
	fits := len(*names) < httpMaxFields
	if fits {
		*names = append(*names, known.name)
	}
	h.last = known.field
	if known.field != fieldNone {
		h.value(known.field, clip(value), r, kind, last)
	}
	return fits
}

func (h *httpHead) value(f httpField, v []byte, r *model.HTTP, kind int, last *httpLast) {
	switch f {
	case fieldContentLength:
		n, ok := parseLength(v)
		switch {
		case !ok || h.bad, h.length >= 0 && h.length != n:
			h.bad, h.length = true, -1
		default:
			h.length = n
		}
	case fieldTransferEncoding:
		codings := bytes.ToLower(v)
		if i := bytes.LastIndexByte(codings, ','); i >= 0 {
			codings = bytes.Trim(codings[i+1:], " \t")
		}
		h.chunked = string(codings) == "chunked"
		h.coded = !h.chunked && string(codings) != "identity"
	case fieldContentType:
		if kind == requests {
			last.requestMIME = mediaType(last.requestMIME, v)
			r.RequestMIME = last.requestMIME
		} else {
			last.responseMIME = mediaType(last.responseMIME, v)
			r.ResponseMIME = last.responseMIME
		}
	}
	if kind == responses {
		switch f {
		case fieldLocation:
			r.Location = redactUserinfo(printable(v))
		case fieldContentDisposition:
			r.ResponseFile = dispositionName(v)
		}
		return
	}
	switch f {
	case fieldHost:
		if r.Host == "" {
			if !same(last.host, v) || hasUpper(v) {
				last.host = strings.ToLower(printable(v))
			}
			r.Host = last.host
		}
	case fieldUserAgent:
		last.userAgent = again(last.userAgent, v)
		r.UserAgent = last.userAgent
	case fieldReferer:
		if !same(last.referrer, v) {
			last.referrer = redactUserinfo(printable(v))
		}
		r.Referrer = last.referrer
	case fieldAuthorization:
		r.Username = basicUser(v)
	}
}

// fold continues the value of the line before where it can matter.
func (h *httpHead) fold(v []byte, r *model.HTTP) {
	if len(v) == 0 {
		return
	}
	add := func(s *string) {
		if len(*s) < httpMaxValue {
			*s += " " + printable(v)
		}
	}
	switch h.last {
	case fieldUserAgent:
		add(&r.UserAgent)
	case fieldHost:
		add(&r.Host)
	case fieldContentDisposition:
		if r.ResponseFile == "" {
			r.ResponseFile = dispositionName(v)
		}
	case fieldTransferEncoding:
		h.chunked = bytes.EqualFold(v, []byte("chunked"))
	}
}

func hasUpper(b []byte) bool {
	for _, ch := range b {
		if ch >= 'A' && ch <= 'Z' {
			return true
		}
	}
	return false
}

func appendLower(dst, b []byte) []byte {
	for _, ch := range b {
		if ch >= 'A' && ch <= 'Z' {
			ch |= 0x20
		}
		dst = append(dst, ch)
	}
	return dst
}

// parseLength reads a Content-Length; a list of equal numbers counts as one (RFC 9110
// section 8.6).
func parseLength(v []byte) (int64, bool) {
	first := int64(-1)
	for part := range bytes.SplitSeq(v, []byte(",")) {
		part = bytes.Trim(part, " \t")
		if len(part) == 0 {
			return 0, false
		}
		var n int64
		for _, ch := range part {
			if !isDigit(ch) || n > (math.MaxInt64-9)/10 {
				return 0, false
			}
			n = n*10 + int64(ch-'0')
		}
		if first >= 0 && first != n {
			return 0, false
		}
		first = n
	}
	return first, true
}

// mediaType is the type of a Content-Type without its parameters, in lower case.
func mediaType(prev string, v []byte) string {
	if i := bytes.IndexByte(v, ';'); i >= 0 {
		v = bytes.TrimRight(v[:i], " \t")
	}
	if same(prev, v) && !hasUpper(v) {
		return prev
	}
	return strings.ToLower(printable(v))
}

// dispositionName is the file name of a Content-Disposition (RFC 6266), without a path.
func dispositionName(v []byte) string {
	var lower [httpMaxValue]byte
	low := appendLower(lower[:0], v)
	plain := ""
	for i := 0; i < len(low); {
		at := bytes.Index(low[i:], []byte("filename"))
		if at < 0 {
			break
		}
		i += at + len("filename")
		rest := bytes.TrimLeft(v[i:], " \t")
		extended := bytes.HasPrefix(rest, []byte("*"))
		if extended {
			rest = bytes.TrimLeft(rest[1:], " \t")
		}
		if !bytes.HasPrefix(rest, []byte("=")) {
			continue
		}
		rest = bytes.TrimLeft(rest[1:], " \t")
		var name []byte
		if bytes.HasPrefix(rest, []byte(`"`)) {
			rest = rest[1:]
			if end := bytes.IndexByte(rest, '"'); end >= 0 {
				rest = rest[:end]
			}
			name = rest
		} else {
			if end := bytes.IndexAny(rest, "; \t"); end >= 0 {
				rest = rest[:end]
			}
			name = rest
		}
		if extended { // charset'language'percent-encoded
			if q := bytes.LastIndexByte(name, '\''); q >= 0 {
				name = name[q+1:]
			}
			return fileBase(printable(percentDecode(name)))
		}
		if plain == "" {
			plain = fileBase(printable(name))
		}
	}
	return plain
}

func fileBase(s string) string {
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		s = s[i+1:]
	}
	return s
}

func percentDecode(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if n, ok := parseChunkSize(b[i+1 : i+3]); ok {
				out = append(out, byte(n))
				i += 2
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
}

// basicUser is the user name of Basic authentication (RFC 7617); the password and every
// other scheme's credentials are not kept.
func basicUser(v []byte) string {
	const scheme = "basic "
	if !foldPrefix(v, scheme) {
		return ""
	}
	enc := bytes.Trim(v[len(scheme):], " \t")
	enc = bytes.TrimRight(enc, "=")
	user := make([]byte, base64.RawStdEncoding.DecodedLen(len(enc)))
	n, _ := base64.RawStdEncoding.Decode(user, enc)
	i := bytes.IndexByte(user[:n], ':')
	if i < 0 {
		return "" // not what the scheme says; it might be a secret
	}
	return printable(user[:i])
}

// redactUserinfo takes the password out of an absolute URI.
func redactUserinfo(uri string) string {
	i := strings.Index(uri, "://")
	if i < 0 || i > 16 {
		return uri
	}
	start := i + 3
	end := len(uri)
	if j := strings.IndexAny(uri[start:], "/?#"); j >= 0 {
		end = start + j
	}
	at := strings.LastIndexByte(uri[start:end], '@')
	if at < 0 {
		return uri
	}
	user := uri[start : start+at]
	colon := strings.IndexByte(user, ':')
	if colon < 0 {
		return uri
	}
	return uri[:start+colon] + uri[start+at:]
}

type knownField struct {
	name  string
	field httpField
}

// fieldsLower are the fields that are read, in lower case.
var fieldsLower = map[string]httpField{
	"host": fieldHost, "user-agent": fieldUserAgent, "referer": fieldReferer,
	"authorization": fieldAuthorization, "content-type": fieldContentType,
	"content-length": fieldContentLength, "transfer-encoding": fieldTransferEncoding,
	"content-disposition": fieldContentDisposition, "location": fieldLocation,
}

// commonFields are names that need no memory of their own.
var commonFields = []string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Accept-Ranges", "Access-Control-Allow-Origin", "Age",
	"Alt-Svc", "Authorization", "Cache-Control", "Connection", "Content-Disposition", "Content-Encoding", "Content-Language",
	"Content-Length", "Content-Location", "Content-MD5", "Content-Range", "Content-Security-Policy", "Content-Type", "Cookie", "DNT",
	"Date", "ETag", "Etag", "Expect", "Expires", "From", "Host", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
	"Keep-Alive", "Last-Modified", "Link", "Location", "Mime-Version", "Origin", "P3P", "Pragma", "Proxy-Authorization",
	"Proxy-Connection", "Range", "Referer", "SOAPAction", "Server", "Set-Cookie", "Strict-Transport-Security", "TE", "Trailer",
	"Transfer-Encoding", "Upgrade", "Upgrade-Insecure-Requests", "User-Agent", "Vary", "Via", "WWW-Authenticate", "X-AspNet-Version",
	"X-Cache", "X-Content-Type-Options", "X-Forwarded-For", "X-Frame-Options", "X-Powered-By", "X-Requested-With", "X-XSS-Protection",
}

var knownFields = func() map[string]knownField {
	m := make(map[string]knownField, 2*len(commonFields))
	for _, n := range commonFields {
		low := strings.ToLower(n)
		m[n] = knownField{n, fieldsLower[low]}
		m[low] = knownField{low, fieldsLower[low]}
	}
	return m
}()
