package coupon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	a, b := strings.Repeat("ab", KeySize), strings.Repeat("0C", KeySize)
	ks, err := Parse("# the shop's keys\n\n  " + a + "  # until May\r\n" + b + "\n")
	if err != nil {
		t.Fatal(err)
	}
	ids := ks.IDs()
	if len(ids) != 2 || !slices.IsSorted(ids) || ks.Key(ids[0]) == nil || ks.Key(ids[1]) == nil || ks.Key("k00000000") != nil || ks.Key("") != nil {
		t.Errorf("ids %v", ids)
	}
	listed, err := Parse(a + ", " + b)
	if err != nil || !slices.Equal(listed.IDs(), ids) {
		t.Errorf("a list: %v, %v", listed, err)
	}
	again, err := Parse(ks.Key(ids[0]).Text())
	if err != nil || !slices.Equal(again.IDs(), ids[:1]) {
		t.Errorf("a key's text: %v, %v", again, err)
	}
	if none := (*Keys)(nil); none.Key(ids[0]) != nil || none.IDs() != nil {
		t.Error("no keys have a key")
	}
	many := ""
	for i := range maxKeys + 1 {
		many += fmt.Sprintf("%064x\n", i)
	}
	for text, want := range map[string]string{
		"":                      "no coupon key",
		"# nothing\n":           "no coupon key",
		a + "\n" + a[1:]:        "line 2: it is not a coupon key, which is 64 hexadecimal digits",
		a + "00":                "line 1",
		"x" + a[1:]:             "line 1",
		a + ",":                 "line 1",
		a + "\n\n" + a:          "is there twice",
		many:                    "line 65: there are more than 64",
		strings.Repeat("é", 64): "line 1",
	} {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q...: %v, want %q", text, err, want)
		} else if strings.Contains(err.Error(), a[:8]) {
			t.Errorf("the error has the secret: %v", err)
		}
	}
}

// TestSecret: printing a key shows its id alone.
func TestSecret(t *testing.T) {
	k := key(t, 0xab)
	ks := keysOf(k)
	for _, form := range []string{"%v", "%+v", "%s", "%#v"} {
		for _, v := range []any{k, ks.keys} {
			if got := fmt.Sprintf(form, v); strings.Contains(strings.ToLower(got), "abab") || strings.Contains(got, "171") {
				t.Errorf("%s prints %s", form, got)
			}
		}
	}
	if _, err := NewKey(make([]byte, KeySize-1)); err == nil {
		t.Error("a key of 31 bytes")
	}
}
