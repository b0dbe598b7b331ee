package page

import (
	"strings"
	"testing"
	"time"
)

func keysOf(t *testing.T, text string) *Keys {
	t.Helper()
	k, err := ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const (
	keyA = "000102030405060708090a0b0c0d0e0f"
	keyB = "101112131415161718191a1b1c1d1e1f"
)

func TestVisitor(t *testing.T) {
	a, b, both := keysOf(t, keyA), keysOf(t, keyB), keysOf(t, keyB+"\n"+keyA+"\n")
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
	for _, bad := range []string{"", "x", "0011", keyA[:31], strings.Repeat(keyA+",", 9)} {
		if _, err := ParseKeys(bad); err == nil || bad != "" && len(bad) > 8 && strings.Contains(err.Error(), bad[:8]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
