package ingest

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"hash/maphash"
	"html/template"
	"net/http"
	"strings"

	"offerstream/config"
	"offerstream/pipeline/event"
	"offerstream/pipeline/unsubscribe"
	"offerstream/pipeline/value"
)

// unsubscriber is the key under which revocations by a link are stored.
var unsubscriber = config.Key{Name: "unsubscribe link", Roles: event.Server}

// serveUnsubscribe serves a link in a message. GET shows a button and changes nothing:
// scanners of mails follow every link. POST, by the button or by the mail program
// (RFC 8058), revokes the consent, and answers 200 when that is in the log.
func (g *Gateway) serveUnsubscribe(w http.ResponseWriter, r *http.Request, token string) {
	link, ok := g.opt.Unsubscribe.Open(token)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	show := func(status int, is string) {
		w.WriteHeader(status)
		if err := unsubscribePage.Execute(w, struct{ Is, Channel string }{is, link.Channel}); err != nil {
			g.opt.Logger.Debug("a page is not sent", "error", err)
		}
	}
	switch {
	case !ok:
		show(http.StatusNotFound, "unknown")
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		show(http.StatusOK, "ask")
	case r.Method != http.MethodPost:
		h.Set("Allow", "GET, HEAD, POST")
		show(http.StatusMethodNotAllowed, "ask")
	default:
		if err := g.revoke(r, link); err != nil {
			g.opt.Logger.Warn("a revocation of consent is not stored: whoever sent it is asked to try again", "error", err)
			h.Set("Retry-After", "5")
			show(http.StatusServiceUnavailable, "later")
			return
		}
		show(http.StatusOK, "done")
	}
}

// revoke stores the event, and returns when it is in the log.
func (g *Gateway) revoke(r *http.Request, link unsubscribe.Link) error {
	if g.draining.Load() {
		return errDrain
	}
	if err := g.able(); err != nil {
		return err
	}
	at, from := g.opt.Now(), g.proxies.clientOf(r)
	limit := g.opt.AddressRate // as for browsers: everybody who has a link can send it
	if g.proxies.has(from) {
		limit = 0
	}
	user := maphash.String(g.rates.seed, event.UserKey(link.User, link.Anonymous))
	if err := errors.Join(g.rates.addresses.check(from, limit, at), g.rates.users.check(user, g.opt.UserRate, at)); err != nil {
		return err
	}
	g.rates.addresses.charge(from, limit, 1, at)
	g.rates.users.charge(user, g.opt.UserRate, 1, at)
	select {
	case g.slots <- struct{}{}:
	default:
		return errRequests
	}
	defer func() { <-g.slots }()
	now := value.FormatTime(at)
	whose := map[bool]string{false: "userId", true: "anonymousId"}[link.Anonymous]
	text, err := json.Marshal(map[string]any{"type": event.System.String(), "event": "Consent Revoked", "messageId": "unsubscribe " + rand.Text(), "timestamp": now,
		whose: link.User, "properties": map[string]string{"channel": link.Channel, "by": "unsubscribe link"}})
	if err != nil {
		return err
	}
	v, err := soleValue(text)
	if err != nil {
		return err
	}
	by, err := newSender(&unsubscriber, nil, http.Header{}, at)
	if err != nil {
		return err
	}
	req := requests.Get().(*request)
	defer req.release()
	req.key, req.sender = &unsubscriber, by.name()
	a := admission{sender: by, receivedAt: now}
	a.decoder = decoders.Get().(*event.Decoder)
	defer decoders.Put(a.decoder)
	if err := g.placeForm(req, &a, text, v, event.System); err != nil {
		return err
	}
	return g.store(r.Context(), req)
}

// unsubscribePath returns the token of a link's path.
func (g *Gateway) unsubscribePath(path string) (token string, ok bool) {
	if g.opt.Unsubscribe == nil {
		return "", false
	}
	return strings.CutPrefix(path, unsubscribe.Path)
}

var unsubscribePage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Unsubscribe</title>
<style>body{font:1.1em/1.5 system-ui,sans-serif;max-width:30em;margin:15vh auto;padding:0 1em;text-align:center}button{font:inherit;padding:.6em 1.5em}</style></head><body>
{{if eq .Is "ask"}}<form method="post"><p>No more advertising by {{.Channel}}?</p><button>Unsubscribe</button></form>
{{else if eq .Is "done"}}<p>You are unsubscribed: you get no more advertising by {{.Channel}}.</p>
{{else if eq .Is "later"}}<form method="post"><p>That did not work. Please try again in a moment.</p><button>Unsubscribe</button></form>
{{else}}<p>This link is not complete. Please use the whole link of the message.</p>
{{end}}</body></html>
`))
