package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"offerstream/config"
)

// checked returns what `offerctl check` prints, with the hash of each set left
// out, and its exit status.
func checked(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), append([]string{"check"}, args...), stdio{strings.NewReader(""), &o, &e})
	return regexp.MustCompile(`set [0-9a-f]{32}`).ReplaceAllString(o.String(), "set H"), e.String(), code
}

// TestCheckTree: each folder with campaign files is a set of its own, and named
// files are one.
func TestCheckTree(t *testing.T) {
	t.Chdir(t.TempDir())
	put := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("all/shop.yaml", "campaigns: {c: {on: View, offer: {channel: web}}}\n")
	put("all/more.yml", "features: {views: {on: View, agg: count}}\n")
	put("all/shop.test.yaml", "nonsense")
	put("all/gallery/a/a.yaml", "campaigns: {c: {for_each: {file: t.csv}, on: View, offer: {channel: web}}}\n")
	put("all/gallery/a/t.csv", "id,n\none,1\ntwo,\n")
	put("all/gallery/.hidden/x.yaml", "nonsense")
	put("all/empty/readme.txt", "nothing")

	out, errs, code := checked(t, "all")
	want := "ok: all: 1 campaign, 1 feature in 2 files, set H\nok: all/gallery/a: 1 campaign with 2 rows, 0 features in 1 file, set H\n"
	warning := "all/gallery/a/t.csv:3:1: warning: the column \"n\" is text, because a cell in it is empty: write a number there, if it is meant to hold numbers\n"
	if out != want || errs != warning || code != 0 {
		t.Errorf("exit %d\n%s%swant\n%s%s", code, out, errs, want, warning)
	}
	if out, errs, code := checked(t, "all/shop.yaml", "all/more.yml"); out != "ok: 1 campaign, 1 feature in 2 files, set H\n" || errs != "" || code != 0 {
		t.Errorf("two files: exit %d\n%s%s", code, out, errs)
	}
	put("all/gallery/b/b.yaml", "campaigns: {c: {on: View, offer: {chanel: web}}}\n")
	if out, errs, code := checked(t, "all/gallery"); code != 1 || !strings.Contains(errs, "all/gallery/b/b.yaml:1:") || !strings.HasPrefix(out, "ok: all/gallery/a: ") {
		t.Errorf("a wrong set: exit %d\n%s%s", code, out, errs)
	}
	if _, errs, code := checked(t, "all/empty"); code != 1 || !strings.Contains(errs, "no campaign files") {
		t.Errorf("no campaigns: exit %d\n%s", code, errs)
	}
}

func TestSchemaCommand(t *testing.T) {
	var o, e bytes.Buffer
	if code := run(t.Context(), []string{"schema"}, stdio{strings.NewReader(""), &o, &e}); code != 0 || !bytes.Equal(o.Bytes(), config.Schema()) {
		t.Errorf("exit %d: %s", code, e.String())
	}
}
