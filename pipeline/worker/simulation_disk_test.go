package worker

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/state"
)

// A simDisk is a simulated disk, which survives its worker.
type simDisk struct {
	*simulation
	limit  state.Limit // the largest commit
	stores map[string]*state.Memory

	since, until time.Duration // while it is getting full; then there is room again
	from, to     int64         // the free bytes at since, and how far they fall
	died         error         // it was written to when nothing was free
}

// fillsWithin is the time in which a disk gets full.
const fillsWithin = 20 * time.Second

func (d *simDisk) free(string) (int64, error) {
	if d.until <= d.time {
		return 1 << 50, nil
	}
	return max(d.to, d.from-int64(float64(d.from)*(d.time-d.since).Seconds()/fillsWithin.Seconds())), nil
}

// write records an error if the disk does not have room for a write: a real disk
// would kill the process then.
func (d *simDisk) write(bytes int64) {
	if free, _ := d.free(""); free < bytes && d.died == nil {
		d.died = fmt.Errorf("SIGBUS after %v: %d bytes are free on a disk and %d are written", d.time, free, bytes)
	}
}

// A simStore is a store on a disk that may get full.
type simStore struct {
	*state.Memory
	disk *simDisk
}

func (s simStore) Commit(b *state.Batch, cursor []byte) error {
	s.disk.write(1)
	return s.Memory.Commit(b, cursor)
}

func (s simStore) Close() error {
	s.disk.write(1)
	return s.Memory.Close()
}

func (d *simDisk) Open(dir string, _ state.Options) (checkpoint.Store, error) {
	if d.stores[dir] == nil {
		d.stores[dir] = state.NewMemory(d.limit)
	}
	d.write(1)
	return simStore{d.stores[dir], d}, nil
}

func (d *simDisk) Restore(dir string, _ state.Options, r io.Reader) error {
	whole, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d.write(int64(len(whole)) * snapshotByte)
	m := state.NewMemory(d.limit)
	if err := m.Restore(bytes.NewReader(whole)); err != nil {
		return err
	}
	d.stores[dir] = m
	return nil
}

func (d *simDisk) member(dir string) (string, func(), error) { return dir, func() {}, nil }

func (d *simDisk) Discard(dir string) error { delete(d.stores, dir); return nil }

// snapshotByte is how many real bytes one byte of a simulated snapshot stands for.
const snapshotByte = 1 << 18

// A simArchive is the simulated object store over one connection.
type simArchive struct {
	*simGroup
	wire  broker.Wire
	whole bool // snapshots are not damaged later, as there are no others
}

type simSnapshot struct {
	meta    broker.SnapshotMeta
	bytes   []byte
	damaged bool
}

func (a simArchive) Put(ctx context.Context, partition int, seq uint64, metadata map[string]string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return a.wire.(*simWire).call(ctx, func() error {
		put := simSnapshot{broker.SnapshotMeta{Partition: partition, Seq: seq, Bytes: int64(b.Len()) * snapshotByte, Metadata: metadata}, b.Bytes(), false}
		a.keep(partition, put)
		for i, s := range a.snapshots[partition] { // damage one only if another is usable
			if s.meta.Seq == seq && !a.whole && a.chance(100) && slices.ContainsFunc(a.snapshots[partition], func(o simSnapshot) bool {
				return o.meta.Seq != seq && !o.damaged && maps.Equal(o.meta.Metadata, metadata)
			}) {
				a.snapshots[partition][i].bytes, a.snapshots[partition][i].damaged = b.Bytes()[:b.Len()/2], true
			}
		}
		a.counts.snapshots++
		return nil
	})
}

// keep adds a snapshot to a partition's, of which the last two are kept.
func (g *simGroup) keep(p int, s simSnapshot) {
	all := append(slices.DeleteFunc(slices.Clone(g.snapshots[p]), func(o simSnapshot) bool { return o.meta.Seq == s.meta.Seq }), s)
	slices.SortStableFunc(all, func(x, y simSnapshot) int { return cmp.Compare(y.meta.Seq, x.meta.Seq) })
	g.snapshots[p] = all[:min(len(all), 2)]
}

func (a simArchive) Drop(ctx context.Context, partition int, which func(seq uint64) bool) error {
	listed, err := a.List(ctx, partition)
	if err != nil {
		return err
	}
	return a.wire.(*simWire).call(ctx, func() error { // if the call is executed late, it must not remove snapshots that have come since
		a.snapshots[partition] = slices.DeleteFunc(slices.Clone(a.snapshots[partition]), func(s simSnapshot) bool {
			return which(s.meta.Seq) && slices.ContainsFunc(listed, func(m broker.SnapshotMeta) bool { return m.Seq == s.meta.Seq })
		})
		return nil
	})
}

func (a simArchive) List(ctx context.Context, partition int) (metas []broker.SnapshotMeta, err error) {
	err = a.wire.(*simWire).call(ctx, func() error {
		metas = nil
		for _, s := range a.snapshots[partition] {
			metas = append(metas, s.meta)
		}
		return nil
	})
	return metas, err
}

func (a simArchive) Open(ctx context.Context, m broker.SnapshotMeta) (r io.ReadCloser, err error) {
	if a.chance(150) { // it may be replaced meanwhile
		if a.rest(ctx, nil, a.upTo(20*time.Second)); ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	err = a.wire.(*simWire).call(ctx, func() error {
		for _, s := range a.snapshots[m.Partition] {
			if s.meta.Seq == m.Seq {
				a.counts.restored++
				r = io.NopCloser(bytes.NewReader(s.bytes))
				return nil
			}
		}
		return broker.ErrSnapshotGone
	})
	return r, err
}

// A simSecond is a second state that is stored.
type simSecond struct {
	meta  broker.SecondMeta
	bytes []byte
}

func (a simArchive) PutSecond(ctx context.Context, partition int, name broker.SecondName, kept bool, metadata map[string]string, write func(io.Writer) error) error {
	listed, err := a.Seconds(ctx, partition)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(listed, func(m broker.SecondMeta) bool {
		return m.Kept && m.Name == name && m.Metadata[broker.StoredKey] == metadata[broker.StoredKey]
	}) {
		return nil
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	put := simSecond{broker.SecondMeta{Name: name, Kept: kept, SnapshotMeta: broker.SnapshotMeta{Partition: partition, Seq: name.Seq, Bytes: int64(b.Len()) * snapshotByte, Metadata: maps.Clone(metadata)}}, b.Bytes()}
	return a.wire.(*simWire).call(ctx, func() error {
		put.meta.Time = a.now()
		all := append([]simSecond{put}, a.seconds[partition]...)
		first := max(1, a.broker.stream(fmt.Sprint("EVENTS-", partition)).first)
		var left []simSecond
		for i, s := range all {
			if s.meta.Seq+1 < first || i > 0 && (s.meta.Name == name || !kept && !s.meta.Kept) {
				continue
			}
			left = append(left, s)
		}
		slices.SortStableFunc(left, func(x, y simSecond) int { return cmp.Compare(y.meta.Seq, x.meta.Seq) })
		a.seconds[partition] = left
		return nil
	})
}

func (a simArchive) Seconds(ctx context.Context, partition int) (metas []broker.SecondMeta, err error) {
	err = a.wire.(*simWire).call(ctx, func() error {
		metas = nil
		for _, s := range a.seconds[partition] {
			metas = append(metas, s.meta)
		}
		return nil
	})
	return metas, err
}

func (a simArchive) OpenSecond(ctx context.Context, m broker.SecondMeta) (r io.ReadCloser, err error) {
	err = a.wire.(*simWire).call(ctx, func() error {
		for _, s := range a.seconds[m.Partition] {
			if s.meta.Name == m.Name {
				r = io.NopCloser(bytes.NewReader(s.bytes))
				return nil
			}
		}
		return broker.ErrSnapshotGone
	})
	return r, err
}

func (a simArchive) DropSeconds(ctx context.Context, partition int, chosen func(broker.SecondMeta) bool) error {
	listed, err := a.Seconds(ctx, partition)
	if err != nil {
		return err
	}
	return a.wire.(*simWire).call(ctx, func() error { // if the call is executed late, it must not remove those that have come since
		a.seconds[partition] = slices.DeleteFunc(slices.Clone(a.seconds[partition]), func(s simSecond) bool {
			return chosen(s.meta) && slices.ContainsFunc(listed, func(m broker.SecondMeta) bool { return m.Name == s.meta.Name && m.Time.Equal(s.meta.Time) })
		})
		return nil
	})
}
