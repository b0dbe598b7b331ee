package ingest

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"offerstream/pipeline/event"
	"offerstream/pipeline/page"
)

// Whose offers a request may have. By a visitor's token, that visitor's; by a user token,
// that user's; by a key of role server, those of whom the address names. Nothing else: no
// key of role browser, no cookie, and no token in an address, which is logged on its way.

const (
	bearer     = "Bearer "
	headerUser = "Offerstream-User" // the userId that a user token proves, percent-encoded; a JWT says it itself
	headerKey  = "X-Write-Key"      // the key under whose secret a user token is
)

var (
	errToken   = &problem{http.StatusUnauthorized, "token", "there is no token, or it is nobody's", 0}
	errExpired = &problem{http.StatusUnauthorized, "expired", "the token has expired", 0}
	errWhose   = &problem{http.StatusBadRequest, "whose", "the request does not say whose offers it asks for, or says it twice", 0}
	errServer  = &problem{http.StatusForbidden, "role", "offers of a user who is named need a key of role server", 0}
	errGet     = &problem{http.StatusMethodNotAllowed, "get", "the path takes another method", 0}
	errBoard   = &problem{http.StatusServiceUnavailable, "board", "this gateway is reading the open offers, or shutting down", 0}
)

// serveOffers answers the paths of offers on pages. It returns false for any other path.
func (g *Gateway) serveOffers(w http.ResponseWriter, r *http.Request, path, id string) bool {
	method, serve := http.MethodGet, (func(http.ResponseWriter, *http.Request) error)(nil)
	switch path {
	case "/v1/visitor":
		method, serve = http.MethodPost, g.issueVisitor
	case "/v1/offers":
		serve = g.listOffers
	case "/v1/offers/stream":
		serve = g.streamOffers
	default:
		if !strings.HasPrefix(path, "/v1/offerstream") {
			return false
		}
		return page.ServeScript(w, r, path)
	}
	w.Header().Set("Cache-Control", "no-store")
	err := error(errGet)
	if r.Method == method {
		err = serve(w, r)
	}
	if err != nil {
		p := g.pageProblem(err, id)
		g.met.answers.WithLabelValues(p.reason).Inc()
		if p.status == http.StatusTooManyRequests {
			g.met.limits.WithLabelValues(p.reason).Inc()
		}
		answer(w, p, id)
	}
	return true
}

func (g *Gateway) pageProblem(err error, id string) *problem {
	var limit *page.LimitError
	switch {
	case errors.As(err, &limit):
		return &problem{http.StatusTooManyRequests, "streams", limit.Error(), 5}
	case errors.Is(err, page.ErrNotReady):
		return errBoard
	}
	return g.problemOf(err, id)
}

// listOffers answers GET /v1/offers.
func (g *Gateway) listOffers(w http.ResponseWriter, r *http.Request) error {
	reader, err := g.readerOf(r)
	if err != nil {
		return err
	}
	offers, err := g.opt.Page.List(reader.Key)
	if err != nil {
		return err
	}
	body := []byte(`{"offers":[`)
	for i, o := range offers {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, o.Body...)
	}
	answerJSON(w, append(body, "]}"...))
	return nil
}

func answerJSON(w http.ResponseWriter, body []byte) {
	w.Header()["Content-Type"] = typeJSON
	w.Write(body)
}

// streamOffers answers GET /v1/offers/stream.
func (g *Gateway) streamOffers(w http.ResponseWriter, r *http.Request) error {
	if r.URL.RawQuery != "" { // such as user: a stream is of whom the token is
		return errWhose
	}
	reader, err := g.readerOf(r)
	if err != nil {
		return err
	}
	return g.opt.Page.Serve(w, r, reader)
}

// readerOf returns whose offers a request may have.
func (g *Gateway) readerOf(r *http.Request) (page.Reader, error) {
	now := g.opt.Now()
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), bearer)
	if !ok {
		return g.named(r)
	}
	if r.URL.RawQuery != "" {
		return page.Reader{}, errWhose
	}
	reader := page.Reader{}
	if from := g.proxies.clientOf(r); !g.proxies.has(from) {
		reader.From = from
	}
	if page.IsToken(token) {
		id, expires, ok := g.visitors().Open(token)
		switch {
		case !ok:
			return page.Reader{}, errToken
		case now >= expires.UnixNano():
			return page.Reader{}, errExpired
		}
		reader.Key, reader.Visitor, reader.Expires = event.UserKey(id, true), id, expires
		return reader, nil
	}
	ring := g.keys.Load()
	key := ring.find(r.Header.Get(headerKey))
	if key == nil {
		return page.Reader{}, errKey
	}
	user, err := url.PathUnescape(r.Header.Get(headerUser))
	if err != nil {
		return page.Reader{}, errWhose
	}
	if user == "" {
		user = subjectOf(token)
	}
	s := sender{key: key, secret: key.Secret, sets: ring.sets, now: now}
	if user == "" || event.CheckUser(user) != nil || !s.takesTokens() {
		return page.Reader{}, errToken
	}
	until, ok := s.until([]byte(token), user)
	if !ok {
		return page.Reader{}, errToken
	}
	reader.Key, reader.Expires = event.UserKey(user, false), time.Unix(until, 0)
	return reader, nil
}

// subjectOf is the user that a JWT names, which does not prove anything yet; "": it is none.
func subjectOf(token string) string {
	if !isJWT(token) || len(token) > longestJWT {
		return ""
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.HS256, jose.RS256, jose.ES256, jose.EdDSA})
	if err != nil {
		return ""
	}
	var claims jwt.Claims
	if parsed.UnsafeClaimsWithoutVerification(&claims) != nil {
		return ""
	}
	return claims.Subject
}

// named is readerOf for a key of role server, with which a server asks for whom it names:
// user=ID or visitor=ID.
func (g *Gateway) named(r *http.Request) (page.Reader, error) {
	name, _, ok := r.BasicAuth()
	if !ok {
		return page.Reader{}, errToken
	}
	key := g.keys.Load().find(name)
	switch {
	case key == nil:
		return page.Reader{}, errKey
	case !key.Roles.Has(event.Server):
		return page.Reader{}, errServer
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	user, visitor := query["user"], query["visitor"]
	if err != nil || len(user)+len(visitor) != 1 || len(query) != 1 {
		return page.Reader{}, errWhose
	}
	id, anonymous := append(user, visitor...)[0], len(visitor) == 1
	if id == "" || event.CheckUser(id) != nil {
		return page.Reader{}, errWhose
	}
	return page.Reader{Key: event.UserKey(id, anonymous)}, nil
}
