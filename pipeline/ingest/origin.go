package ingest

import (
	"net/http"
	"slices"
)

// Pages of other origins send events with a write key, which is no secret, and never with
// credentials of the browser. So every answer says which origin's script may read it,
// errors too: an SDK that cannot read an answer stops.

const allowedMethods = "GET, POST, OPTIONS"

// Header values that are the same in every answer; shared to avoid allocations.
var (
	anyOrigin  = []string{"*"}
	varyOrigin = []string{"Origin"}
	readable   = []string{"Retry-After, " + headerRequest} // for scripts of other origins
)

// allowOrigin says that the page's script may read the answer, if its origin may.
func (g *Gateway) allowOrigin(w http.ResponseWriter, r *http.Request) {
	if r.Header["Origin"] != nil {
		w.Header()["Access-Control-Expose-Headers"] = readable
	}
	if len(g.opt.Origins) == 0 {
		w.Header()["Access-Control-Allow-Origin"] = anyOrigin
		return
	}
	w.Header()["Vary"] = varyOrigin
	if of := r.Header["Origin"]; len(of) == 1 && slices.Contains(g.opt.Origins, of[0]) {
		w.Header()["Access-Control-Allow-Origin"] = of
	}
}

// preflight answers a browser that asks whether a script may send a request. The headers
// are those of all browser SDKs, and those of a retry among them.
func preflight(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", allowedMethods)
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Content-Encoding, AnonymousId, SentAt, X-Write-Key, X-Retry-Count, "+
		"Rsa-Retry-Attempt, Rsa-Retry-Reason, Rsa-Since-First-Attempt, Rsa-Since-Last-Attempt, Last-Event-ID, "+headerToken+", "+headerVisitor+", "+headerUser)
	h.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}
