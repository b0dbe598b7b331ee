package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVisitorKeys(t *testing.T) {
	const a, b = "000102030405060708090a0b0c0d0e0f", "101112131415161718191a1b1c1d1e1f"
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(a+"\r\n"+b+"\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]int{"": 0, a: 1, a + "," + b: 2, file: 2} {
		if got, err := ReadVisitorKeys(given); err != nil || len(got) != want {
			t.Errorf("%q: %d keys, %v", given, len(got), err)
		}
	}
	for _, bad := range []string{"nofile", a[:31], a + "x", a + ",zz", strings.Repeat(a+",", 9), strings.Repeat(a, 2)[:33]} {
		if _, err := ReadVisitorKeys(bad); err == nil || len(bad) > 20 && strings.Contains(err.Error(), bad[:20]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
