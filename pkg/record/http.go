package record

import "github.com/tracer-framework/tracer/pkg/model"

// HTTPs are rows of table http.
type HTTPs struct {
	Endpoints
	Method          Word
	Host            Word
	URI             Text
	Referrer        Text
	Version         Word
	UserAgent       Word
	Username        Word
	RequestBodyLen  Uint[uint64]
	ResponseBodyLen Uint[uint64]
	StatusCode      Uint[uint16]
	StatusMsg       Word
	RequestMIME     Word
	ResponseMIME    Word
	ResponseMagic   Word
	ResponseFile    Text
	RequestHeaders  Words
	ResponseHeaders Words
	Location        Text
	Answered        Bool

	table []named
}

func (c *HTTPs) columns() []named {
	if c.table == nil {
		c.RequestHeaders.bind()
		c.ResponseHeaders.bind()
		c.table = append(c.Endpoints.columns(), []named{
			{"method", &c.Method},
			{"host", &c.Host},
			{"uri", &c.URI},
			{"referrer", &c.Referrer},
			{"version", &c.Version},
			{"user_agent", &c.UserAgent},
			{"username", &c.Username},
			{"request_body_len", &c.RequestBodyLen},
			{"response_body_len", &c.ResponseBodyLen},
			{"status_code", &c.StatusCode},
			{"status_msg", &c.StatusMsg},
			{"request_mime", &c.RequestMIME},
			{"response_mime", &c.ResponseMIME},
			{"response_magic", &c.ResponseMagic},
			{"response_file", &c.ResponseFile},
			{"request_headers", &c.RequestHeaders},
			{"response_headers", &c.ResponseHeaders},
			{"location", &c.Location},
			{"answered", &c.Answered},
		}...)
	}
	return c.table
}

// Append adds a row.
func (c *HTTPs) Append(v *model.HTTP) {
	c.appendEndpoints(&v.Endpoints)
	c.Method.Append(v.Method)
	c.Host.Append(v.Host)
	c.URI.Append(v.URI)
	c.Referrer.Append(v.Referrer)
	c.Version.Append(v.Version)
	c.UserAgent.Append(v.UserAgent)
	c.Username.Append(v.Username)
	c.RequestBodyLen.Append(v.RequestBodyLen)
	c.ResponseBodyLen.Append(v.ResponseBodyLen)
	c.StatusCode.Append(v.StatusCode)
	c.StatusMsg.Append(v.StatusMsg)
	c.RequestMIME.Append(v.RequestMIME)
	c.ResponseMIME.Append(v.ResponseMIME)
	c.ResponseMagic.Append(v.ResponseMagic)
	c.ResponseFile.Append(v.ResponseFile)
	c.RequestHeaders.Append(v.RequestHeaders)
	c.ResponseHeaders.Append(v.ResponseHeaders)
	c.Location.Append(v.Location)
	c.Answered.Append(v.Answered)
}

// Row writes row i to v.
func (c *HTTPs) Row(i int, v *model.HTTP) {
	c.rowEndpoints(i, &v.Endpoints)
	v.Method = c.Method.Row(i)
	v.Host = c.Host.Row(i)
	v.URI = c.URI.Row(i)
	v.Referrer = c.Referrer.Row(i)
	v.Version = c.Version.Row(i)
	v.UserAgent = c.UserAgent.Row(i)
	v.Username = c.Username.Row(i)
	v.RequestBodyLen = c.RequestBodyLen.Row(i)
	v.ResponseBodyLen = c.ResponseBodyLen.Row(i)
	v.StatusCode = c.StatusCode.Row(i)
	v.StatusMsg = c.StatusMsg.Row(i)
	v.RequestMIME = c.RequestMIME.Row(i)
	v.ResponseMIME = c.ResponseMIME.Row(i)
	v.ResponseMagic = c.ResponseMagic.Row(i)
	v.ResponseFile = c.ResponseFile.Row(i)
	v.RequestHeaders = c.RequestHeaders.Row(i)
	v.ResponseHeaders = c.ResponseHeaders.Row(i)
	v.Location = c.Location.Row(i)
	v.Answered = c.Answered.Row(i)
}

// Rows is the number of rows.
func (c *HTTPs) Rows() int { return c.FlowID.Rows() }

// Reset drops all rows and keeps the memory.
func (c *HTTPs) Reset() { reset(c.columns()) }
