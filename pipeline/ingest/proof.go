package ingest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"offerstream/config"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// Headers of a request.
const (
	headerToken   = "Offerstream-User-Token"    // a user token, as userToken in the body
	headerVisitor = "Offerstream-Visitor-Token" // a visitor's token, as visitorToken in the body
	headerSender  = "Offerstream-Sender"        // who has sent the events before, see sender
)

// A sender is who sends a request: what its key may do, and what proof of users it
// brings.
//
// A client that passes on what others have sent, as offerctl deadletters replay does,
// names them in the header Offerstream-Sender: browser, or verified for a browser
// whose key has identity: verified. Their events are then judged as theirs. The
// header can only take rights away.
type sender struct {
	key      *config.Key
	roles    event.Roles
	verified bool
	secret   []byte // of user tokens; nil: none of this kind is taken
	sets     *keySets
	token    string // of the request: the batch's, else the header's
	visitor  string // a visitor's token of the request, likewise
	now      int64  // nanoseconds since 1970
	request  string // its name

	last struct { // the token that was checked last: most are the same in all of a batch
		user, token []byte
		ok          bool
	}
	mac  hash.Hash // HMAC-SHA-256 under the secret, for the next user token; nil: none was checked yet
	text []byte    // memory for the token that one is compared with
}

// Values of headerSender, and of pipeline.Dead's Sender.
const (
	fromBrowser  = "browser"
	fromVerified = "verified"
	fromTrusted  = "trusted" // not in the header
)

var errSender = &problem{http.StatusBadRequest, "sender", "the header " + headerSender + " is neither " + fromBrowser + " nor " + fromVerified, 0}

func newSender(key *config.Key, sets *keySets, h http.Header, now int64) (sender, error) {
	s := sender{key: key, sets: sets, roles: key.Roles, verified: key.Verified, secret: key.Secret, token: h.Get(headerToken), visitor: h.Get(headerVisitor), now: now}
	switch as := h.Get(headerSender); as {
	case "":
		return s, nil
	case fromBrowser, fromVerified:
		s.verified = s.verified || as == fromVerified
	default:
		return s, errSender
	}
	if !s.roles.Has(event.Browser | event.Server) {
		return s, &event.Denied{Reason: event.DeniedRole, Detail: "the header " + headerSender + " needs a key of role browser or server"}
	}
	s.secret, s.sets, s.roles = nil, nil, event.Browser
	return s, nil
}

// trusted reports whether the sender knows whom an event is about.
func (s *sender) trusted() bool { return trusted(s.roles) }

func trusted(r event.Roles) bool { return r.Has(event.Server) || !r.Has(event.Browser) }

// name is who the sender is for a dead letter, so that it can be sent again as his.
func (s *sender) name() string {
	switch {
	case s.trusted():
		return fromTrusted
	case s.verified:
		return fromVerified
	}
	return fromBrowser
}

// proves reports whether the event, or its request, has a user token of the user
// whom the event is about.
func (s *sender) proves(ev *event.Event) bool {
	if !s.takesTokens() || !strings.HasPrefix(ev.Key, "u:") {
		return false
	}
	token, user := s.token, ev.User()
	if mayHaveToken(ev.Raw) {
		if own, is := tokenOf(ev, memberToken); is {
			token = own
		}
	}
	if token == "" {
		return false
	}
	if l := &s.last; string(l.user) != user || string(l.token) != token {
		l.user, l.token = append(l.user[:0], user...), append(l.token[:0], token...)
		_, l.ok = s.until(l.token, user)
	}
	return s.last.ok
}

// takesTokens reports whether the sender's key takes any user token.
func (s *sender) takesTokens() bool { return s.secret != nil || s.sets != nil && s.key.JWKS != "" }

// until reports whether a user token is valid for a user now, and until when, in seconds
// since 1970.
func (s *sender) until(token []byte, user string) (at int64, ok bool) {
	if text := string(token); isJWT(text) {
		if s.sets == nil {
			return 0, false
		}
		return s.sets.proves(s.key, text, user, s.now)
	}
	if s.secret == nil {
		return 0, false
	}
	return s.provesUser(token, user)
}

// tokenOf is the event's own token of a kind. SDKs let a page add to the context or the
// properties only. The first text that is there counts.
func tokenOf(ev *event.Event, member string) (token string, is bool) {
	if ev.Root != nil { // a scanned event has none in the outer object: see needsParsed
		if own := ev.Root.Get(member); own != nil && own.Type() == fastjson.TypeString {
			return value.AliasText(own), true
		}
	}
	for _, in := range [...]event.Member{event.InContext, event.InProperties} {
		if token, is, _ = ev.TextIn(in, member); is {
			return token, true
		}
	}
	return "", false
}

// Members that are tokens: of a user, and of a visitor (visitor.go).
const (
	memberToken   = "userToken"
	memberVisitor = "visitorToken"
)

// mayHaveToken reports whether an event may have a token. Nearly all have none, and
// need not be searched.
func mayHaveToken(raw []byte) bool {
	return indexToken(raw).present() || bytes.Contains(raw, []byte(`\u`)) // its name may be escaped
}

// indexToken is where the name of a token stands first; empty if nowhere. It looks for
// the end of the names, which begins with a letter that is rare in events.
func indexToken(raw []byte) span {
	const end = "Token"
	for from := 0; ; {
		i := bytes.Index(raw[from:], []byte(end))
		if i < 0 {
			return span{}
		}
		from += i + len(end)
		for _, member := range [...]string{memberToken, memberVisitor} {
			if bytes.HasSuffix(raw[:from], []byte(member)) {
				return span{from - len(member), from}
			}
		}
	}
}

// hasToken reports whether a member of an event has a token.
func hasToken(ev *event.Event, in event.Member) bool {
	_, _, has := ev.TextIn(in, memberToken)
	if !has {
		_, _, has = ev.TextIn(in, memberVisitor)
	}
	return has
}

// soleToken is the place of a member with a token, with its comma, whose name stands at
// key. It is empty if that may be no member's name.
func soleToken(raw []byte, key span) span {
	i, end := key.from, key.to
	if raw[i-1] != '"' || raw[end] != '"' {
		return span{}
	}
	i--
	at := skipSpace(raw, end+1)
	if raw[at] != ':' {
		return span{}
	}
	v, err := scanValue(raw, skipSpace(raw, at+1))
	if err != nil {
		return span{}
	}
	if end := skipSpace(raw, v.to); raw[end] == ',' {
		return span{i, end + 1}
	}
	before := len(bytes.TrimRight(raw[:i], " \t\r\n"))
	if raw[before-1] == ',' {
		before--
	}
	return span{before, v.to}
}

// withoutToken is an object without its tokens.
func withoutToken(raw []byte) []byte {
	out := append(make([]byte, 0, len(raw)), '{')
	for m := (members{b: raw}); ; {
		key, val, ok := m.next()
		if !ok {
			return append(out, '}')
		}
		if n := key.of(raw); isToken(n) {
			if rest := raw[m.at:]; !mayHaveToken(rest) { // as nearly always: it need not be read
				if len(out) == 1 {
					rest = bytes.TrimPrefix(rest[skipSpace(rest, 0):], []byte{','})
				}
				return append(out, rest...)
			}
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, raw[key.from-1:val.to]...)
	}
}

// isToken reports whether the name of a member, as it was sent, is that of a token.
func isToken(n []byte) bool {
	if bytes.IndexByte(n, '\\') >= 0 {
		n = []byte(name(n))
	}
	return string(n) == memberToken || string(n) == memberVisitor
}

// UserToken is the user token of a user id, which proves until it expires that a
// browser is the user's: the expiry in seconds since 1970, a dot, and in base64url
// without padding the HMAC-SHA-256, under the secret of the browser's key, of the
// expiry, a dot and the user id. The id is the text of userId, of a number its
// decimal text.
func UserToken(secret []byte, user string, expires time.Time) string {
	return string(appendToken(nil, hmac.New(sha256.New, secret), strconv.AppendInt(nil, expires.Unix(), 10), user))
}

// appendToken appends the user token. mac is a new or a reset HMAC-SHA-256.
func appendToken(dst []byte, mac hash.Hash, expiry []byte, user string) []byte {
	from := len(dst)
	dst = append(append(append(dst, expiry...), '.'), user...)
	mac.Write(dst[from:])
	dst = dst[:from+len(expiry)+1]
	var sum [sha256.Size]byte
	return base64.RawURLEncoding.AppendEncode(dst, mac.Sum(sum[:0]))
}

// provesUser is until for a token that is no JWT.
func (s *sender) provesUser(token []byte, user string) (at int64, ok bool) {
	const longest = 12 // digits of an expiry
	expiry, _, _ := bytes.Cut(token, []byte{'.'})
	if len(expiry) == 0 || len(expiry) > longest || len(bytes.Trim(expiry, "0123456789")) > 0 {
		return 0, false
	}
	if s.mac == nil {
		s.mac = hmac.New(sha256.New, s.secret)
	} else {
		s.mac.Reset()
	}
	if s.text = appendToken(s.text[:0], s.mac, expiry, user); !hmac.Equal(token, s.text) {
		return 0, false
	}
	at, err := strconv.ParseInt(string(expiry), 10, 64)
	return at, err == nil && s.now/int64(time.Second) < at
}
