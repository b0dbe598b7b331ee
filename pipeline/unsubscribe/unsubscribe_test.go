package unsubscribe

import (
	"strings"
	"testing"
)

const (
	first  = "0123456789abcdef"
	second = "fedcba9876543210"
)

func keys(t *testing.T, text string) *Keys {
	t.Helper()
	k, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestToken: a token says whose consent to which channel it revokes, under the keys that
// signed it or may have; and whoever changes a character has none.
func TestToken(t *testing.T) {
	k, both := keys(t, first), keys(t, "# the new one\n"+second+"\n\n"+first+"\n")
	for _, l := range []Link{{"ada", false, "email"}, {"ada", true, "email"}, {"ünï.\x01 &/", false, "sms"}, {strings.Repeat("x", 512), false, "push"}} {
		token := k.Token(l)
		if strings.ContainsFunc(token, func(r rune) bool {
			return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", r)
		}) {
			t.Errorf("%q is not plain", token)
		}
		for _, by := range []*Keys{k, both} {
			if got, ok := by.Open(token); !ok || got != l {
				t.Errorf("%+v becomes %+v, %v", l, got, ok)
			}
		}
		if _, ok := keys(t, second).Open(token); ok {
			t.Error("another key opens it")
		}
		for i := range token {
			changed := []byte(token)
			changed[i] = map[bool]byte{true: 'B', false: 'A'}[token[i] == 'A']
			if got, ok := k.Open(string(changed)); ok && got != l {
				t.Errorf("with character %d changed it is %+v", i, got)
			}
		}
	}
	for _, no := range []string{"", ".", "a.b", "YQ", "YQ.", strings.Repeat("a", 1<<20)} {
		if _, ok := k.Open(no); ok {
			t.Errorf("%.20q opens", no)
		}
	}
	if a, b := k.Token(Link{"b", false, "a"}), k.Token(Link{"", false, "ab"}); a == b {
		t.Error("two links have one token")
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{"": "no key", "# x\n": "no key", "short": "fewer than 16", strings.Repeat(first+"\n", 17): "at most 16"} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
}
