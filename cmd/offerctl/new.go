package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"offerstream/config"
	"offerstream/deploy"
	"offerstream/pipeline/campaign"
)

// firstID stands for the systems with which demo and serve start, joined.
const firstID = "demo"

// newSet is `offerctl new`.
func newSet(_ context.Context, args []string, std stdio) error {
	fl := newFlags(std, "new [ID [FOLDER]]", `
Lists the gallery: campaign sets that do what well-known systems do. With the ID
of one, writes it with its scenarios into a folder (default: named as the ID), for
you to change. Nothing is overwritten. Several in one folder form one set. Beside
them it writes the JSON Schema that the first line of each set names: with it an
editor completes keys and marks mistakes.`,
		"offerctl new\nofferctl new coupang-sms\nofferctl new 11st-cart campaigns")
	rest, err := fl.parse(args)
	switch {
	case err != nil:
		return err
	case len(rest) > 2:
		return usagef("unexpected argument %q", rest[2])
	case len(rest) == 0:
		return listGallery(std.out)
	}
	id, folder := rest[0], rest[0]
	if len(rest) == 2 {
		folder = rest[1]
	}
	files, err := galleryFiles(id)
	if err != nil {
		return err
	}
	if err := writeNew(std.out, folder, files); err != nil {
		return err
	}
	fmt.Fprintf(std.out, `
Next:
  offerctl check %[1]s   is the set valid?
  offerctl test %[1]s    do its scenarios hold? Change the set, and see which do not
  offerctl apply %[1]s   make it live
`, folder)
	return nil
}

// listGallery prints a line for each set.
func listGallery(w io.Writer) error {
	ids, err := galleryIDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		text, err := firstLine(id)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%-16s  %s\n", id, text)
	}
	fmt.Fprintf(w, "%-16s  the set with which demo and serve start: %s\n", firstID, strings.Join(deploy.First, ", "))
	fmt.Fprint(w, "\nWrite one into a folder with: offerctl new ID [FOLDER]\n")
	return nil
}

// galleryIDs returns the ids of the gallery's sets, sorted.
func galleryIDs() (ids []string, err error) {
	dirs, err := fs.ReadDir(deploy.Gallery(), ".")
	for _, d := range dirs {
		ids = append(ids, d.Name())
	}
	return ids, err
}

// firstLine returns the sentence that says what a set does.
func firstLine(id string) (string, error) {
	b, err := fs.ReadFile(deploy.Gallery(), path.Join(id, id+".yaml"))
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "#")), err
}

// galleryFiles returns the paths, within the gallery, of the files of a set.
func galleryFiles(id string) (files []string, err error) {
	ids, err := galleryIDs()
	if err != nil {
		return nil, err
	}
	dirs := []string{id}
	switch {
	case id == firstID:
		dirs = deploy.First
	case !slices.Contains(ids, id):
		hint := "offerctl new lists them all"
		if near := campaign.Nearest(id, append(ids, firstID)); near != "" {
			hint = fmt.Sprintf("did you mean %s? %s", near, hint)
		}
		return nil, fmt.Errorf("the gallery has no %q: %s", id, hint)
	}
	for _, dir := range dirs {
		found, err := fs.ReadDir(deploy.Gallery(), dir)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			files = append(files, path.Join(dir, f.Name()))
		}
	}
	return files, nil
}

// writeNew writes files of the gallery into a folder, or none of them if one is
// there already.
func writeNew(out io.Writer, folder string, files []string) error {
	for _, name := range files {
		to := filepath.Join(folder, path.Base(name))
		if _, err := os.Lstat(to); err == nil {
			return fmt.Errorf("%s is there already, and nothing was written: name another folder, or move the file away", to)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, name := range files {
		b, err := fs.ReadFile(deploy.Gallery(), name)
		if err != nil {
			return err
		}
		if ext := path.Ext(name); ext == ".yaml" && path.Ext(strings.TrimSuffix(name, ext)) != ".test" {
			b = append([]byte(modeline), b...)
		}
		if err := createFile(out, filepath.Join(folder, path.Base(name)), b); err != nil {
			return err
		}
	}
	err := createFile(out, filepath.Join(folder, schemaFile), config.Schema())
	if errors.Is(err, fs.ErrExist) { // of an earlier set
		return nil
	}
	return err
}

// schemaFile is the JSON Schema beside campaign files, and modeline their first line,
// with which editors find it.
const (
	schemaFile = "campaigns.schema.json"
	modeline   = "# yaml-language-server: $schema=" + schemaFile + "\n"
)

// createFile writes a file that is not there yet.
func createFile(out io.Writer, to string, b []byte) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(out, "wrote %s\n", to)
	return nil
}
