package broker

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker/embedded"
)

// TestFiles: the files of a set come back as they were last written, whatever their
// size, and of what was stored before nothing is left.
func TestFiles(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1, Prefix: "x"})
	ctx := limited(t)
	stored := func() int {
		t.Helper()
		all, err := c.Wire.Subjects(ctx, "KV_X-CAMPAIGNS", "$KV.X-CAMPAIGNS.files.>")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if _, err := c.Files(ctx, "0123"); !errors.Is(err, ErrNoFiles) {
		t.Errorf("there are none: %v", err)
	}
	noise := make([]byte, 3<<20)
	if _, err := io.ReadFull(newNoise(1, int64(len(noise))), noise); err != nil {
		t.Fatal(err)
	}
	for i := range noise {
		noise[i] = 'a' + noise[i]%26
	}
	small := []SetFile{{"shop.yaml", "# a comment, <b>\n\tcampaigns:\n"}, {"rows/cities.csv", "city\r\nSeoul, 서울\n"}}
	large := append(small, SetFile{"policies.yaml", string(noise)})
	for i, tc := range []struct {
		files []SetFile
		keys  int
	}{{small, 2}, {large, 1 + 3}, {large, 1 + 3}, {nil, 2}, {small, 2}} {
		if err := c.PutFiles(ctx, "0123", tc.files); err != nil {
			t.Fatal(err)
		}
		got, err := c.Files(ctx, "0123")
		if err != nil || !reflect.DeepEqual(got, tc.files) {
			t.Errorf("%d: %d files of %d come back, %v", i, len(got), len(tc.files), err)
		}
		if n := stored(); n != tc.keys {
			t.Errorf("%d: there are %d keys, want %d", i, n, tc.keys)
		}
	}
	if _, err := c.Files(ctx, "4567"); !errors.Is(err, ErrNoFiles) {
		t.Errorf("of another set: %v", err)
	}
	for _, tc := range []struct{ path, text, words string }{
		{"../shop.yaml", "", "not a path"},
		{"/etc/passwd", "", "not a path"},
		{".", "", "not a path"},
		{"", "", "not a path"},
		{"a.yaml", "\xff", "UTF-8"},
		{"a.yaml", strings.Repeat("x", maxFiles), "they have 64.0 MB, and at most 64 MB"},
		{"a.yaml", strings.Repeat("\n", maxFiles*2/3), "at most 64 MB"},
	} {
		if err := c.PutFiles(ctx, "0123", []SetFile{{tc.path, tc.text}}); err == nil || !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%q with %d bytes: %v", tc.path, len(tc.text), err)
		}
	}
	if got, err := c.Files(ctx, "0123"); err != nil || !reflect.DeepEqual(got, small) {
		t.Errorf("what was refused has changed them: %v, %v", got, err)
	}
}

// TestFilesDamaged: files whose stored bytes are others are not given out.
func TestFilesDamaged(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 1})
	ctx := limited(t)
	for _, f := range []struct{ hash, text string }{{"01", "a"}, {"02", "b"}} {
		if err := c.PutFiles(ctx, f.hash, []SetFile{{"shop.yaml", f.text}}); err != nil {
			t.Fatal(err)
		}
	}
	keys := map[string]string{}
	for _, hash := range []string{"01", "02"} {
		_, m, err := c.text(ctx, filesKey(hash), maxFiles)
		if err != nil {
			t.Fatal(err)
		}
		keys[hash] = chunkKey(filesKey(hash), m.Sum, 0)
	}
	other, err := c.kv.Get(ctx, keys["02"])
	if err == nil {
		_, err = c.kv.Put(ctx, keys["01"], other.Value())
	}
	if err != nil {
		t.Fatal(err)
	}
	if files, err := c.Files(ctx, "01"); err == nil || !strings.Contains(err.Error(), "apply the campaigns again") {
		t.Errorf("%v, %v", files, err)
	}
	if err := c.kv.Purge(ctx, keys["01"]); err != nil {
		t.Fatal(err)
	}
	if files, err := c.Files(ctx, "01"); err == nil || errors.Is(err, ErrNoFiles) || errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("%v, %v", files, err)
	}
	if err := c.PutFiles(ctx, "01", []SetFile{{"shop.yaml", "a"}}); err != nil {
		t.Fatal(err)
	}
	if files, err := c.Files(ctx, "01"); err != nil || len(files) != 1 {
		t.Errorf("stored again: %v, %v", files, err)
	}
}
