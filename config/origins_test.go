package config

import (
	"slices"
	"testing"
)

func TestOrigins(t *testing.T) {
	for text, want := range map[string][]string{
		"":                     nil,
		"https://shop.example": {"https://shop.example"},
		" https://shop.example , http://127.0.0.1:3000,": {"https://shop.example", "http://127.0.0.1:3000"},
	} {
		if got, err := readOrigins(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"*", "shop.example", "https://shop.example/", "https://Shop.example", "ftp://shop.example", "https://", "https://a.example;https://b.example", "https://me@shop.example"} {
		if got, err := readOrigins(text); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}
