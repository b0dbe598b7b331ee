package ingest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// A problem is any answer but success.
//
//	400  the body is not JSON, not a batch, or its only event is refused
//	401  no key, or a wrong one; or a userId without proof, see doc.go
//	403  its key may not send the single event
//	404  no such path
//	405  not a POST
//	408  the body came too slowly
//	413  body, event or batch too large
//	415  a compression other than gzip
//	429  too much at once; Retry-After says when to try again
//	503  the log did not acknowledge, or the gateway is shutting down; Retry-After
//
// The body is {"success": false, "status": 400, "reason": "...", "error": "..."}.
type problem struct {
	status int
	reason string // one word, also the metric's label
	text   string
}

func (p *problem) Error() string { return p.reason + ": " + p.text }

var (
	errKey      = &problem{http.StatusUnauthorized, "key", "a key is needed: as the user name of Basic authorization, or as writeKey in the body"}
	errPath     = &problem{http.StatusNotFound, "path", "no such path; events go to /v1/batch, /v1/track, /v1/page, /v1/screen, /v1/identify, /v1/group, /v1/alias, /v1/system, /v1/fact, /v1/item"}
	errMethod   = &problem{http.StatusMethodNotAllowed, "method", "use POST"}
	errMemory   = &problem{http.StatusTooManyRequests, "memory", "too many bytes at once: send the request again later"}
	errArrivals = &problem{http.StatusTooManyRequests, "arrivals", "too many bytes are on their way here at once: send the request again later"}
	errAddress  = &problem{http.StatusTooManyRequests, "address", "too many bytes are on their way here from this address at once: send the request again later"}
	errRequests = &problem{http.StatusTooManyRequests, "requests", "too many requests at once: send the request again later"}
	errQueue    = &problem{http.StatusTooManyRequests, "queue", "events come faster than the log can store them: send the request again later"}
	errDrain    = &problem{http.StatusServiceUnavailable, "drain", "this gateway is shutting down: send the request again"}
	errLog      = &problem{http.StatusServiceUnavailable, "log", "the events could not be stored: send them again"}
	errWide     = &problem{http.StatusBadRequest, "charset", "the body is UTF-16 or UTF-32: send UTF-8"}
	errLeft     = &problem{http.StatusServiceUnavailable, "gone", "the client left before its events were stored"}
)

// Header values that are the same in every answer; shared to avoid allocations.
var (
	typeJSON = []string{"application/json"}
	okBody   = []byte(`{"success":true,"ok":true,"status":1}`)
	okLength = []string{strconv.Itoa(len(okBody))}
)

// unsupported refuses a compression.
func unsupported(coding string) error {
	return &problem{http.StatusUnsupportedMediaType, "coding", fmt.Sprintf("the compression %q cannot be read: send the body as it is, or with gzip", clip(coding))}
}

// answerOK sends an answer that every SDK accepts as success.
func answerOK(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Type"], h["Content-Length"] = typeJSON, okLength
	w.Write(okBody)
}

// answerBatch is answerOK for a batch, with the numbers of its events that were
// accepted and refused. denied are those of the refused that the key may not send.
func answerBatch(w http.ResponseWriter, t tally) {
	body := fmt.Appendf(make([]byte, 0, 96), `{"success":true,"ok":true,"status":1,"accepted":%d,"refused":%d`, t.accepted, t.refused)
	if t.denied > 0 {
		body = fmt.Appendf(body, `,"denied":%d`, t.denied)
	}
	body = append(body, '}')
	h := w.Header()
	h["Content-Type"], h["Content-Length"] = typeJSON, []string{strconv.Itoa(len(body))}
	w.Write(body)
}

func answer(w http.ResponseWriter, p *problem) {
	body, _ := json.Marshal(struct {
		Success bool   `json:"success"`
		Status  int    `json:"status"`
		Reason  string `json:"reason"`
		Error   string `json:"error"`
	}{false, p.status, p.reason, p.text})
	h := w.Header()
	h["Content-Type"] = typeJSON
	switch p.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case http.StatusMethodNotAllowed:
		h.Set("Allow", allowedMethods)
	case http.StatusUnsupportedMediaType:
		h.Set("Accept-Encoding", "gzip")
	}
	// No WWW-Authenticate with a 401: a browser would ask the shop's visitor
	// for a password.
	if p == errDrain {
		h.Set("Connection", "close")
	}
	w.WriteHeader(p.status)
	w.Write(body)
}

// clip shortens a text that may quote what a client has sent.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
