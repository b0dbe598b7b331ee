package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"offerstream/pipeline/broker"
)

// export is `offerctl campaigns export`.
func (c *campaigns) export(ctx context.Context, _ []string) error {
	hash, err := c.setNamed(ctx, c.set)
	if err != nil {
		return err
	}
	files, err := c.conn.Files(ctx, hash)
	switch {
	case errors.Is(err, broker.ErrNoFiles):
		def, err := c.conn.Set(ctx, hash)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := json.Indent(&text, def.JSON(), "", "  "); err != nil {
			return err
		}
		fmt.Fprintf(c.std.err, "the files of set %s are not stored, because an older version has applied it, or a program: this is its definition\n", hash)
		files = []broker.SetFile{{Path: "set-" + short(hash) + ".json", Text: text.String() + "\n"}}
	case err != nil:
		return err
	}
	if c.to != "" {
		return c.writeFiles(files)
	}
	if len(files) != 1 {
		return usagef("the set has %s: name a directory for them with --to", count(len(files), "file"))
	}
	_, err = fmt.Fprint(c.std.out, files[0].Text)
	return err
}

// writeFiles writes files below the directory, or none of them if one is there.
func (c *campaigns) writeFiles(files []broker.SetFile) error {
	var there []string
	for _, f := range files {
		to := filepath.Join(c.to, filepath.FromSlash(f.Path))
		if _, err := os.Lstat(to); err == nil {
			there = append(there, to)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(there) > 0 && !c.force {
		return fmt.Errorf("nothing was written, because there is already %s: name another directory, or --force", several(there))
	}
	for _, f := range files {
		to := filepath.Join(c.to, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := writeWhole(to, f.Text); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "wrote %s\n", to)
	}
	return nil
}

// writeWhole writes a file, or leaves what was there.
func writeWhole(path, text string) error {
	f, err := beginFile(path)
	if err != nil {
		return err
	}
	defer f.drop()
	if _, err := f.WriteString(text); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return f.done()
}

// setNamed is the set whose hash begins so, among those that the record and the logs
// name; "": the live one.
func (c *campaigns) setNamed(ctx context.Context, begin string) (string, error) {
	live, _, err := c.conn.Live(ctx)
	switch {
	case err != nil:
		return "", err
	case begin == "" && live.Set == "":
		return "", errors.New("no campaign set is live: name one with --set; offerctl campaigns history lists those that were")
	case begin == "":
		return live.Set, nil
	case len(begin) == hashDigits:
		return begin, nil
	}
	all := map[string]bool{live.Set: true}
	if live.Previous != nil {
		all[live.Previous.Set] = true
	}
	if live.Backfill != nil {
		all[live.Backfill.Set] = true
	}
	for p := range c.conn.Partitions {
		controls, err := c.conn.Controls(ctx, p)
		if err != nil {
			return "", err
		}
		for _, m := range controls {
			all[m.Set] = true
		}
	}
	delete(all, "")
	maps.DeleteFunc(all, func(hash string, _ bool) bool { return !strings.HasPrefix(hash, begin) })
	found := slices.Sorted(maps.Keys(all))
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no set in the record or the logs begins with %q: offerctl campaigns history lists them", begin)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%d sets begin with %q: %s: give more of the hash", len(found), begin, several(found))
}

// hashDigits is the length of a set's hash.
const hashDigits = 32
