package worker

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// changeState commits a change to the state of partition 0 in a worker's
// directory, which no worker uses, and returns a snapshot of it.
func changeState(t *testing.T, dir string, change func(b *state.Batch, cursor []byte) []byte) []byte {
	t.Helper()
	st, err := openState(filepath.Join(dir, "partition-0"), state.Options{Identity: state.Identity{Partitions: 1}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	cursor, err := st.Cursor()
	if err != nil {
		t.Fatal(err)
	}
	b := st.NewBatch()
	cursor = change(b, cursor)
	if err := st.Commit(b, cursor); err != nil {
		t.Fatal(err)
	}
	var snapshot bytes.Buffer
	if _, err := st.Snapshot(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return snapshot.Bytes()
}

// TestNewerState: state of a newer version stops the partition, with a way out. It
// is not changed and does not count as damaged.
func TestNewerState(t *testing.T) {
	newer := byte(pipeline.RecordVersion + 1)
	for name, change := range map[string]func(b *state.Batch, cursor []byte) []byte{
		"cursor": func(_ *state.Batch, cursor []byte) []byte {
			return bytes.Replace(cursor, fmt.Appendf(nil, `"version":%d`, pipeline.RecordVersion), fmt.Appendf(nil, `"version":%d`, newer), 1)
		},
		"user": func(b *state.Batch, cursor []byte) []byte {
			b.Put("u:ada", []byte{newer, 1, 2, 3}, nil)
			return cursor
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := startNATS(t, t.TempDir(), -1)
			c := connect(t, ns.ClientURL(), 1)
			hash := apply(t, c, views(t, 1))
			dir := t.TempDir()
			w := start(t, ns.ClientURL(), dir, nil)
			w.inForce(t, hash)
			publish(t, c, []scripted{{0, view(0, "ada")}})
			w.applied(t, c)
			w.stop(t)
			changeState(t, dir, change)
			publish(t, c, []scripted{{0, view(1, "ada")}})
			w = start(t, ns.ClientURL(), dir, nil)
			w.stopsLoudly(t, "a newer version wrote it: run that version, or stop the worker and remove "+filepath.Join(dir, "partition-0"))
			w.stop(t)
			kept := changeState(t, dir, func(_ *state.Batch, cursor []byte) []byte {
				if _, err := pipeline.ReadCursor(cursor); name == "cursor" && !errors.Is(err, pipeline.ErrNewer) {
					t.Errorf("the cursor is %s (%v)", cursor, err)
				}
				return cursor
			})
			if name == "user" && !bytes.Contains(kept, []byte{newer, 1, 2, 3}) {
				t.Error("the user is another")
			}
		})
	}
}

// TestSnapshotVersions: snapshots whose records this binary cannot read are not
// used. A snapshot after which the state is found damaged again and again is not
// restored for ever.
func TestSnapshotVersions(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 1))
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir, nil)
	w.inForce(t, hash)
	for i := range 3 {
		publish(t, c, []scripted{{0, view(i, "ada")}})
	}
	w.applied(t, c)
	w.stop(t)
	var cursor pipeline.Cursor
	damaged := changeState(t, dir, func(b *state.Batch, at []byte) []byte {
		var err error
		if cursor, err = pipeline.ReadCursor(at); err != nil {
			t.Fatal(err)
		}
		b.Put("u:ada", []byte{pipeline.RecordVersion, 250}, nil)
		return at
	})
	put := func(seq uint64, records string) {
		t.Helper()
		meta := checkpoint.Metadata(cursor)
		meta["records"] = records
		if err := c.PutSnapshot(within(t), 0, seq, meta, bytes.NewReader(damaged)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []struct{ records, says string }{
		{fmt.Sprint(pipeline.RecordVersion + 1), "a snapshot is of a newer version: it is left alone; run the newer binary to use it"},
		{"2", "this version cannot use a snapshot"},
		{fmt.Sprint(pipeline.RecordVersion), "each time a snapshot was restored, the state was found damaged later: not using it"},
	} {
		if err := c.DropSnapshots(within(t), 0, func(uint64) bool { return true }); err != nil {
			t.Fatal(err)
		}
		put(cursor.Seq, s.records)
		publish(t, c, []scripted{{0, view(10+len(s.says), "ada")}})
		log := &said{}
		w := start(t, ns.ClientURL(), t.TempDir(), func(o *Options) { o.Log = log.logger() })
		w.inForce(t, hash)
		w.applied(t, c)
		if !strings.Contains(log.String(), s.says) {
			t.Errorf("records %s: the log does not say %q:\n%s", s.records, s.says, log)
		}
		w.stop(t)
	}
	verified(t, c)
}
