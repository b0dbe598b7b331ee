package ingest

import (
	"bytes"
	"net/http"
	"strings"

	"offerstream/pipeline/event"
)

// A dialect is how a family of SDKs speaks: its paths, where its key is, and how its
// events read. Each has a file of its own, which adds it to the tables.
//
// The hooks are called in their order, and those that are nil do nothing. Text that they
// return may be that which they are given.
type dialect struct {
	routes map[string]route // by path; their dialect is set when it is added
	stubs  []stub           // what its SDKs fetch before they send anything

	// key is the key where it is neither the user name of Basic authorization nor in the
	// body; "": there is none.
	key func(r *http.Request) string
	// text makes the body's text of the body and what is beside it.
	text func(r *http.Request, body []byte) ([]byte, error)
	// split finds the events and what surrounds them. nil: as in /v1/batch, or the body is
	// one event (route.batch).
	split func(e *envelope, text []byte) error
	// event appends an event in the form that /v1/batch takes. An error says what is wrong
	// with the event. now is when the request was received, nanoseconds since 1970.
	event func(dst, raw []byte, now int64) ([]byte, error)
}

// own is the form of this gateway, which is that of Segment's SDKs.
var own = &dialect{}

// A route is one path.
type route struct {
	batch  bool       // the body has any number of events; else it is one event
	def    event.Type // the type of an event that has none
	coupon bool       // the answer says what has become of a coupon
	of     *dialect
}

// routes has /v1/batch, a path for each type of event, and the paths of all dialects.
var routes = func() map[string]route {
	all := map[string]route{"/v1/batch": {batch: true, of: own}}
	for t := event.Track; int(t) < len(event.Types); t++ {
		if t != event.Clock {
			all["/v1/"+t.String()] = route{def: t, of: own}
		}
	}
	return all
}()

var stubs []stub

// add adds a dialect to the tables.
func add(d *dialect) bool {
	for path, rt := range d.routes {
		rt.of = d
		routes[path] = rt
	}
	stubs = append(stubs, d.stubs...)
	return true
}

// A stub is what an SDK fetches from its vendor before it sends anything, and without
// which it sends nothing.
type stub struct {
	path string // in which * is any part between two slashes; without a slash at its end
	body func(r *http.Request, part string) []byte
}

// stubOf finds the stub for a path, and what stands for its *.
func stubOf(path string) (s *stub, part string) {
	for i := range stubs {
		if part, ok := matches(stubs[i].path, path); ok {
			return &stubs[i], part
		}
	}
	return nil, ""
}

func matches(pattern, path string) (part string, ok bool) {
	before, after, wild := strings.Cut(pattern, "*")
	if !wild {
		return "", pattern == path
	}
	if !strings.HasPrefix(path, before) || !strings.HasSuffix(path, after) || len(path) <= len(before)+len(after) {
		return "", false
	}
	part = path[len(before) : len(path)-len(after)]
	return part, !strings.Contains(part, "/")
}

// fixed is the body of a stub that is always the same.
func fixed(body string) func(*http.Request, string) []byte {
	return func(*http.Request, string) []byte { return []byte(body) }
}

// fieldsOf reads members of an object into what of returns for their names, those that are
// null excepted. What has been read stays.
func fieldsOf(raw []byte, of func(name []byte) *[]byte) error {
	m := members{b: raw}
	for {
		key, val, ok := m.next()
		if !ok {
			return m.err
		}
		n := key.of(raw)
		if bytes.IndexByte(n, '\\') >= 0 {
			n = []byte(name(n))
		}
		if to := of(n); to != nil && *to == nil && string(val.of(raw)) != "null" {
			*to = val.of(raw)
		}
	}
}

// appendMember appends a member to an object that has others; nothing if it has no value.
func appendMember(dst []byte, name string, v []byte) []byte {
	if v == nil {
		return dst
	}
	return append(append(append(append(dst, `,"`...), name...), `":`...), v...)
}

// keyParameter is the key in the parameter writeKey of the address.
func keyParameter(r *http.Request) string { return r.URL.Query().Get("writeKey") }

// isText reports whether a JSON value is a string that is not empty.
func isText(raw []byte) bool { return len(raw) > 2 && raw[0] == '"' }
