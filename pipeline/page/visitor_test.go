package page

import (
	"strings"
	"testing"
	"time"
)

var keyA, keyB = []byte("sixteen bytes  A"), []byte("sixteen bytes  B")

func TestVisitor(t *testing.T) {
	a, b, both := NewKeys([][]byte{keyA}), NewKeys([][]byte{keyB}), NewKeys([][]byte{keyB, keyA})
	now := time.Unix(1_800_000_000, 0)
	id, other := a.NewID(), a.NewID()
	if id == other || !a.Issued(id) || !both.Issued(id) || b.Issued(id) {
		t.Errorf("%s and %s: issued by %v %v %v", id, other, a.Issued(id), both.Issued(id), b.Issued(id))
	}
	token, expires := a.Token(id, now)
	if !expires.Equal(now.Add(TokenLife)) || !a.Proves(token, id, now) || !both.Proves(token, id, expires.Add(-time.Second)) {
		t.Errorf("%s until %v", token, expires)
	}
	for what, bad := range map[string]bool{
		"other visitor": a.Proves(token, other, now), "other keys": b.Proves(token, id, now), "expired": a.Proves(token, id, expires),
	} {
		if bad {
			t.Errorf("%s: proves", what)
		}
	}
	for i := range token { // every character counts
		c := byte('A')
		if token[i] == c {
			c = 'B'
		}
		changed := token[:i] + string(c) + token[i+1:]
		if _, _, ok := a.Open(changed); ok {
			t.Errorf("%s is taken", changed)
		}
		if i < len(id) && a.Issued(changed[:len(id)]) {
			t.Errorf("%s counts as issued", changed[:len(id)])
		}
	}
	for _, bad := range []string{"", ".", "..", token + "x", token + "\n", " " + token, id, id + ".", id + "..", id + ".1.", strings.Repeat("x", 10_000), other + token[len(id):], "ov_" + strings.Repeat(".", 200)} {
		if _, _, ok := a.Open(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
}
