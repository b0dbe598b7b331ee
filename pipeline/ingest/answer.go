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
//	404  no such path; or the user has no such coupon
//	405  not a POST
//	409  the coupon is used, has expired, or is not this order's (coupon.go)
//	408  the body came too slowly
//	413  body, event or batch too large
//	415  a compression other than gzip
//	429  too much at once; Retry-After says when to try again
//	503  the log did not acknowledge, or the gateway is shutting down; Retry-After
//
// The body is {"success": false, "status": 400, "reason": "...", "error": "...", "do": "...",
// "request": "..."}: a word for programs, what is wrong, what to do about it, and the
// request's name, as in the header X-Request-Id.
type problem struct {
	status int
	reason string // one word, also the metric's label
	text   string
	after  int // seconds until a sender of too many events may send again; 0: it is not about that
}

func (p *problem) Error() string { return p.reason + ": " + p.text }

// isLimit reports whether an error is a limit of a sender's events.
func isLimit(err error) bool {
	p, ok := err.(*problem)
	return ok && p.after > 0
}

var (
	errKey      = &problem{http.StatusUnauthorized, "key", "there is no key, or it is not one of this gateway's", 0}
	errPath     = &problem{http.StatusNotFound, "path", "no such path", 0}
	errMethod   = &problem{http.StatusMethodNotAllowed, "method", "the path takes events by POST alone", 0}
	errMemory   = &problem{http.StatusTooManyRequests, "memory", "too many bytes come at once", 0}
	errArrivals = &problem{http.StatusTooManyRequests, "arrivals", "too many bytes are on their way here at once", 0}
	errAddress  = &problem{http.StatusTooManyRequests, "address", "too many bytes are on their way here from this address at once", 0}
	errRequests = &problem{http.StatusTooManyRequests, "requests", "too many requests come at once", 0}
	errQueue    = &problem{http.StatusTooManyRequests, "queue", "events come faster than the log can store them", 0}
	errDrain    = &problem{http.StatusServiceUnavailable, "drain", "this gateway is shutting down", 0}
	errLog      = &problem{http.StatusServiceUnavailable, "log", "the events could not be stored", 0}
	errWide     = &problem{http.StatusBadRequest, "charset", "the body is UTF-16 or UTF-32", 0}
	errLeft     = &problem{http.StatusServiceUnavailable, "gone", "the client left before its events were stored", 0}
)

const (
	sendAgain = "send the same request again, after the seconds that Retry-After names; what was stored before is known by its messageId"
	sendLess  = "send again after the seconds that Retry-After names; if this is no mistake, raise the limit (deploy/GATEWAY.md, Limits)"
)

// remedies are what to do, by reason.
var remedies = map[string]string{
	"coupon":            "send the same request again, after the seconds that Retry-After names: it is safe, and the coupon is used once",
	"coupon_fields":     "send {\"code\": .., \"userId\": .., \"orderId\": ..}, texts that are not empty, or GET /v1/coupons/CODE?userId=..",
	"coupon_unknown":    "ask the customer for the code once more, and to log in as whoever got it; the order has no discount",
	"coupon_expired":    "tell the customer; the order has no discount",
	"coupon_used":       "tell the customer; the order has no discount. If that order was cancelled, POST it to /v1/coupons/void first",
	"coupon_voided":     "send another orderId, if the customer orders once more",
	"coupon_unredeemed": "nothing: the coupon is as it was; send the orderId with which it was redeemed, if you meant another",

	"key":          "send a write key as the user name of Basic authorization, or as writeKey in the body; --write-key, --server-key and --keys name those that are taken",
	"path":         "send events to /v1/batch, /v1/track, /v1/page, /v1/screen, /v1/identify, /v1/group, /v1/alias, /v1/system, /v1/fact, /v1/item, or a path of your SDK (deploy/GATEWAY.md)",
	"method":       "use POST",
	"memory":       sendAgain,
	"arrivals":     sendAgain,
	"address":      sendAgain,
	"requests":     sendAgain,
	"queue":        sendAgain,
	"drain":        sendAgain,
	"log":          sendAgain,
	"gone":         sendAgain,
	"key_rate":     sendLess,
	"address_rate": sendLess,
	"user_rate":    sendLess,
	"charset":      "send UTF-8",
	"coding":       "send the body as it is, or with gzip",
	"gzip":         "compress the body once",
	"body":         "send the whole body, as long as Content-Length says",
	"slow":         "send the body at 4 KB per second or faster",
	"size":         "send less at once: an event may have 32 KB, a batch 4 MB (also inflated) and 5,000 events",
	"json":         "send JSON: one event, or {\"batch\": [event, ...]}",
	"sender":       "leave the header out: it is for events that are passed on",
	"type":         "send one of track, page, screen, identify, group, alias, system, fact, item, with a key that may send it",
	"name":         "give the event a name of 1 to 256 bytes",
	"fields":       "give the members the types that the format asks for",
	"identity":     "send userId or anonymousId, a text that is not empty and not a placeholder such as null or undefined",
	"timestamp":    "send a time as 2026-01-02T15:04:05Z, or leave it out: then the event counts as of when it is received",
	"user":         "send the user's id as a text",
	"role":         "send it with a key that has the role (README, Keys)",
	"proof":        "send it with the user's token, or from the shop's server (README, Keys)",
	"token":        "send Authorization: Bearer with the token of POST /v1/visitor, or with a user token, X-Write-Key and Offerstream-User (deploy/PAGE.md)",
	"expired":      "POST the token to /v1/visitor for the next one, or ask the shop's server for another user token",
	"whose":        "send a token alone; or with a key of role server one of user=ID and visitor=ID in the address",
	"get":          "use GET, and for /v1/visitor POST",
	"streams":      "close a stream, or come again after the seconds that Retry-After names",
	"board":        "come again after the seconds that Retry-After names",
	"unproved":     "send the user's token with it, or an anonymousId (README, Keys)",
}

// Header values that are the same in every answer; shared to avoid allocations.
var (
	typeJSON = []string{"application/json"}
	okBody   = []byte(`{"success":true,"ok":true,"status":1}`)
	okLength = []string{strconv.Itoa(len(okBody))}
)

// unsupported refuses a compression.
func unsupported(coding string) error {
	return &problem{http.StatusUnsupportedMediaType, "coding", fmt.Sprintf("the compression %q cannot be read", clip(coding)), 0}
}

// answerOK sends an answer that every SDK accepts as success.
func answerOK(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Type"], h["Content-Length"] = typeJSON, okLength
	w.Write(okBody)
}

// answerBatch is answerOK for a batch, with the numbers of its events that were
// accepted and refused. Of the refused, denied are those that the key may not send, and
// bots those of crawlers.
func answerBatch(w http.ResponseWriter, t tally) {
	body := append(make([]byte, 0, 128), `{"success":true,"ok":true,"status":1`...)
	count := func(name string, n int) {
		body = append(append(append(body, `,"`...), name...), `":`...)
		body = strconv.AppendInt(body, int64(n), 10)
	}
	count("accepted", t.accepted)
	count("refused", t.refused)
	if t.denied > 0 {
		count("denied", t.denied)
	}
	if t.bots > 0 {
		count("bots", t.bots)
	}
	body = append(body, '}')
	h := w.Header()
	h["Content-Type"], h["Content-Length"] = typeJSON, []string{strconv.Itoa(len(body))}
	w.Write(body)
}

func answer(w http.ResponseWriter, p *problem, id string) {
	body, _ := json.Marshal(struct {
		Success bool   `json:"success"`
		Status  int    `json:"status"`
		Reason  string `json:"reason"`
		Error   string `json:"error"`
		Do      string `json:"do"`
		Request string `json:"request"`
	}{false, p.status, p.reason, p.text, remedies[p.reason], id})
	h := w.Header()
	h["Content-Type"] = typeJSON
	switch p.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(max(p.after, 1)))
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
