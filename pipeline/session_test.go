package pipeline

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzSameSite: the short way of telling that a referrer is a page of the shop itself
// never says so where parsing both does not.
func FuzzSameSite(f *testing.F) {
	for _, u := range [][2]string{
		{"https://shop.example/a?b#c", "https://shop.example/d"}, {"https://shop.example", "https://shop.example?x=%zz"}, {"https://shop.example/%zz", "https://shop.example/"},
		{"https://shop.example", "https://shop.example.evil/"}, {"https://shop.example:80/", "https://shop.example/"}, {"http://a@b/", "http://a"}, {"https://", "https://"},
		{"https://Shop.example/", "https://Shop.example/"}, {"https://a/", "https://a/\x7f"}, {"https://-/", "https://-:x"},
	} {
		f.Add(u[0], u[1])
	}
	f.Fuzz(func(t *testing.T, referrer, page string) {
		if !sameSite(referrer, page) {
			return
		}
		of, err := url.Parse(page)
		if err != nil {
			t.Fatalf("%q: %v", page, err)
		}
		if from, err := url.Parse(referrer); err == nil && !strings.EqualFold(from.Hostname(), of.Hostname()) {
			t.Errorf("%q is not of the site of %q", referrer, page)
		}
	})
}

func TestSameSite(t *testing.T) {
	for _, u := range []struct {
		referrer, page string
		want           bool
	}{
		{"https://shop.example/a?b#c", "https://shop.example/d", true},
		{"https://shop.example", "https://shop.example", true},
		{"https://shop.example?a", "https://shop.example#b", true},
		{"https://shop.example", "https://shop.example.evil/", false},
		{"https://shop.example/", "http://shop.example/", false},
		{"https://search.example/", "https://shop.example/", false},
		{"https://shop.example/", "https://shop.example/%zz", false}, // left to the parser
		{"android-app://x/", "android-app://x/", false},
		{"", "", false},
	} {
		if got := sameSite(u.referrer, u.page); got != u.want {
			t.Errorf("%q to %q: %v", u.referrer, u.page, got)
		}
	}
}
