package ingest

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"offerstream/pipeline/event"
	"offerstream/pipeline/page"
	"offerstream/pipeline/value"
)

// A visitor whose id this gateway, or another one with the same keys, has issued is claimed
// from a browser with his token alone: an event that makes him a user counts as unproved
// without it, whatever user token it has. It is carried as user tokens are: in the header
// Offerstream-Visitor-Token, or as visitorToken of the batch, its context, the event, or the
// event's context or properties. An id that an SDK has made is nobody's: who claims it first
// has it.

func (g *Gateway) visitors() *page.Keys {
	if g.opt.Page == nil {
		return nil
	}
	return g.opt.Page.Keys()
}

// takesVisitor reports whether an event of a browser claims a visitor whose token it lacks.
func (a *admission) takesVisitor(ev *event.Event) bool {
	if a.visitors == nil || ev.Type != event.Identify && ev.Type != event.Alias {
		return false
	}
	stored := *ev
	stored.NoProof = false // what a client writes there is removed
	visitor, ok := stored.Claims()
	if !ok || !a.visitors.Issued(visitor) {
		return false
	}
	token := a.sender.visitor
	if mayHaveToken(ev.Raw) {
		if own, is := tokenOf(ev, memberVisitor); is {
			token = own
		}
	}
	return !a.visitors.Proves(token, visitor, time.Unix(0, a.sender.now))
}

const (
	visitorCookie = "offerstream_visitor"
	longestCookie = 1 << 10 // bytes
)

// issueVisitor answers POST /v1/visitor: the id and a token of a new visitor, or of the one
// whose token the request has, in the header Authorization or the cookie, also after it has
// expired, until the live set forgets a visitor; with ?new, as at a logout, of a new one in
// any case. The cookie is set where the gateway is on the shop's domain: a page of the same
// origin need not keep the token then, and no script can read it.
func (g *Gateway) issueVisitor(w http.ResponseWriter, r *http.Request) error {
	now, from := time.Unix(0, g.opt.Now()), g.proxies.clientOf(r)
	if !g.proxies.has(from) {
		if err := g.rates.addresses.check(from, g.opt.AddressRate, now.UnixNano()); err != nil {
			return err
		}
		if !g.rates.addresses.charge(from, g.opt.AddressRate, 1, now.UnixNano()) {
			g.met.limits.WithLabelValues("debtors").Inc()
		}
	}
	same, here := sameSite(r)
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), bearer)
	if c, err := r.Cookie(visitorCookie); !ok && same && err == nil && len(c.Value) <= longestCookie {
		token = c.Value
	}
	keys, forget := g.visitors(), min(g.opt.Log.ForgetAnonymous(), page.MostForget)
	id, expired, ok := keys.Open(token)
	if !ok || now.Sub(expired) > forget || r.URL.RawQuery == "new" {
		id = keys.NewID()
	}
	token, expires := keys.Token(id, now)
	if same {
		http.SetCookie(w, &http.Cookie{Name: visitorCookie, Value: token, Path: "/", MaxAge: int((page.TokenLife + forget) / time.Second), HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
	}
	body, err := json.Marshal(struct {
		ID      string `json:"id"`
		Token   string `json:"token"`
		Expires string `json:"expires"`
		Cookie  bool   `json:"cookie"` // the browser keeps it: the page need not
	}{id, token, value.FormatTime(expires.UnixNano()), here})
	if err == nil {
		answerJSON(w, body)
	}
	return err
}

// sameSite reports whether a request comes from a page of the gateway's own site, and
// whether it is of its own origin, as the browser says: it knows which domains are public
// suffixes. An older one does not say it; its own origin can be told.
func sameSite(r *http.Request) (site, origin bool) {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin":
		return true, true
	case "same-site":
		return true, false
	case "":
		_, host, _ := strings.Cut(r.Header.Get("Origin"), "://")
		return host != "" && host == r.Host, host != "" && host == r.Host
	}
	return false, false
}
