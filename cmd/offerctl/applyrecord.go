package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"offerstream/config"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/value"
)

// store stores the set, and its files as they are written. Also a set that is stored
// may come with other comments.
func (a *applying) store(ctx context.Context) error {
	hash, err := a.conn.PutSet(ctx, a.def)
	if err != nil {
		return err
	}
	stored, err := a.conn.Files(ctx, hash)
	if err == nil && slices.Equal(stored, a.files) {
		return nil
	}
	if err := a.conn.PutFiles(ctx, hash, a.files); err != nil {
		fmt.Fprintf(a.std.err, "%v: apply goes on, but the files cannot be given back as they were written\n", err)
	} else if len(stored) > 0 {
		fmt.Fprintln(a.out, "the files are written differently than when this set was last applied: they are stored anew")
	}
	return nil
}

// writtenFiles reads the files of a set as they are written, with the tables that they
// name. Their paths are below the directory that has all of them.
func writtenFiles(paths []string) (files []broker.SetFile, err error) {
	_, names, err := config.LoadCampaignsRead(paths...)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		if names[i], err = filepath.Abs(name); err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	top := filepath.Dir(names[0])
	for _, name := range names {
		for !strings.HasPrefix(name, strings.TrimSuffix(top, string(filepath.Separator))+string(filepath.Separator)) {
			top = filepath.Dir(top)
		}
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading campaigns: %w", err)
		}
		path, err := filepath.Rel(top, name)
		if err != nil {
			return nil, err
		}
		files = append(files, broker.SetFile{Path: filepath.ToSlash(path), Text: string(text)})
	}
	return files, nil
}

// put writes the record, with the next revision and who wrote it, in place of the one
// that was read.
func (a *applying) put(ctx context.Context, live broker.Live) (err error) {
	if live.Revision, err = a.conn.NextRevision(ctx, max(a.live.Revision, a.reported), broker.LiveRevision); err != nil {
		return err
	}
	live.By, live.At = a.by, value.FormatTime(time.Now().UnixNano())
	if err := a.conn.PutLive(ctx, live, a.rev); err != nil {
		return err
	}
	written := live
	if a.live, a.rev, err = a.conn.Live(ctx); err != nil {
		return err
	}
	if a.live.Revision != written.Revision {
		return broker.ErrLiveChanged
	}
	return nil
}

// previous is what a rollback returns to when another set takes the place of the live
// one, which cancels so many.
func (a *applying) previous(ctx context.Context, cancelled int) *broker.Previous {
	if a.live.Set == "" {
		return nil
	}
	since, _ := madeLive(ctx, a.conn, a.live)
	return &broker.Previous{Set: a.live.Set, At: since, Cancelled: cancelled}
}

// madeLive is when the live set became live, in RFC 3339, and by whom: the record's own
// time and name may be those of a backfill that was asked for, or given up, since then.
func madeLive(ctx context.Context, conn *broker.Conn, live broker.Live) (since, by string) {
	all, err := conn.Controls(ctx, 0)
	if err != nil {
		return live.At, live.By
	}
	set := ""
	for _, c := range all {
		if c.Set != "" && c.Set != set {
			set, since, by = c.Set, c.At, c.By
		}
	}
	if set != live.Set || since == "" {
		return live.At, live.By
	}
	return since, by
}

// shortTime is a time in RFC 3339 without what is below a second.
func shortTime(at string) string {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return at
	}
	return t.UTC().Format(time.RFC3339)
}
