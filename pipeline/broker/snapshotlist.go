package broker

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Snapshots returns the partition's snapshots, the newest first; none if the
// bucket does not exist.
func (c *Conn) Snapshots(ctx context.Context, partition int) ([]SnapshotMeta, error) {
	all, err := c.listSnapshots(ctx, partition)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the snapshots of partition %d: %w", partition, err)
	}
	return all, nil
}

// A NewestSnapshot is the newest snapshot of a partition, and how many there are.
type NewestSnapshot struct {
	SnapshotMeta
	Kept   int
	Oldest time.Time // the oldest one's Time
}

// NewestSnapshots returns the newest snapshot of each partition that has one, by
// partition; none if the bucket does not exist.
func (c *Conn) NewestSnapshots(ctx context.Context) (map[int]NewestSnapshot, error) {
	newest := map[int]NewestSnapshot{}
	all, err := c.namedSnapshots(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return newest, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the snapshots: %w", err)
	}
	oldest := map[int]SnapshotMeta{}
	for _, m := range all {
		oldest[m.Partition] = m
		n, known := newest[m.Partition]
		if n.Kept++; known {
			newest[m.Partition] = n
			continue
		}
		meta, there, err := c.snapshotMeta(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("snapshot of partition %d at message %d: %w", m.Partition, m.Seq, err)
		}
		if there {
			n.SnapshotMeta = meta
			newest[m.Partition] = n
		}
	}
	for p, n := range newest {
		m, there, err := c.snapshotMeta(ctx, oldest[p])
		if err != nil {
			return nil, fmt.Errorf("snapshot of partition %d at message %d: %w", p, oldest[p].Seq, err)
		}
		if n.Oldest = n.Time; there {
			n.Oldest = m.Time
		}
		newest[p] = n
	}
	return newest, nil
}

// namedSnapshots returns the snapshots of all partitions, the newest first, with
// the fields that their subjects tell.
func (c *Conn) namedSnapshots(ctx context.Context) (all []SnapshotMeta, err error) {
	err = c.namedObjects(ctx, func(subject, name string) {
		if m, ok := snapshotOf(subject, name); ok {
			all = append(all, m)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b SnapshotMeta) int { return cmp.Compare(b.Seq, a.Seq) })
	return all, nil
}

// namedObjects calls fn with the subject and the name of each object in the bucket.
func (c *Conn) namedObjects(ctx context.Context, fn func(subject, name string)) error {
	subjects, err := c.Wire.Subjects(ctx, c.Names.snapshotsStream(), c.Names.snapshotSubject("*"))
	for _, subject := range subjects {
		if name, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(subject, c.Names.snapshotSubject(""))); err == nil {
			fn(subject, string(name))
		}
	}
	return err
}

// snapshotOf reads a snapshot's name; ok is false for an object that is not a
// snapshot.
func snapshotOf(subject, name string) (m SnapshotMeta, ok bool) {
	p, seq, _ := strings.Cut(name, "/")
	m.subject = subject
	var errP, errSeq error
	m.Partition, errP = strconv.Atoi(p)
	m.Seq, errSeq = strconv.ParseUint(seq, 10, 64)
	return m, errP == nil && errSeq == nil
}

// snapshotMeta reads the remaining fields of a snapshot; there is false if the
// snapshot has been removed.
func (c *Conn) snapshotMeta(ctx context.Context, meta SnapshotMeta) (_ SnapshotMeta, there bool, err error) {
	m, err := c.Wire.Last(ctx, c.Names.snapshotsStream(), meta.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return meta, false, nil
	}
	if err != nil {
		return meta, false, err
	}
	if err := json.Unmarshal(m.Data, &meta.object); err != nil || meta.object.Deleted {
		return meta, false, nil
	}
	meta.Time, meta.Bytes, meta.Metadata = time.Unix(0, m.Time), int64(meta.object.Size), meta.object.Metadata
	return meta, true, nil
}

func (c *Conn) listSnapshots(ctx context.Context, partition int) (all []SnapshotMeta, err error) {
	named, err := c.namedSnapshots(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range named {
		if m.Partition != partition {
			continue
		}
		m, there, err := c.snapshotMeta(ctx, m)
		if err != nil {
			return nil, err
		}
		if there {
			all = append(all, m)
		}
	}
	return all, nil
}
