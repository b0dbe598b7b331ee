package ingest

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"sync/atomic"
)

// headerRequest is the header that names a request, in the answer too: who asks why a
// request was refused can tell which one it was.
const headerRequest = "X-Request-Id"

const maxRequestID = 64 // bytes of a name that a client or a proxy gives

// requestIDs names the requests that have no name.
type requestIDs struct {
	begin string // random for each gateway
	last  *atomic.Uint64
}

func newRequestIDs() requestIDs {
	return requestIDs{rand.Text()[:8] + "-", new(atomic.Uint64)}
}

// of is the name of a request: its own, if it is short and of letters, digits and - _ . =
func (ids *requestIDs) of(r *http.Request) string {
	if given := r.Header[headerRequest]; len(given) == 1 && isRequestID(given[0]) {
		return given[0]
	}
	var b [40]byte
	return string(strconv.AppendUint(append(b[:0], ids.begin...), ids.last.Add(1), 36))
}

func isRequestID(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '=' {
			return false
		}
	}
	return s != "" && len(s) <= maxRequestID
}
