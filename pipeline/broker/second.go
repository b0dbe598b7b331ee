package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Second states are objects beside the snapshots, named
// second/<partition>/<set>/<from>/<sequence>, with pieces of their own:
//
//	$O.SNAPSHOTS.C.second.<partition>.<sequence>.<random>
//
// Those that are made for a switch are kept, because the switch names one: as long
// as the log has the message after it. Of the others, which show how far a second
// fold has come, a partition has one.

// A SecondName names a second state: what it is a function of.
type SecondName struct {
	Set    string // hash of the set under which it is folded
	Engine int
	From   uint64 // the message at which it began; 0: the log's beginning
	Seq    uint64 // the last message of the log that it has applied
}

// SecondMeta describes a stored second state.
type SecondMeta struct {
	SnapshotMeta // Seq is the name's
	Name         SecondName
	Kept         bool // it was made for a switch
}

// Keys of the metadata of a second state, beside those that are given to PutSecond.
const (
	secondEngineKey = "second-engine"
	secondKeptKey   = "second-kept"
)

// StoredKey is the key of the metadata given to PutSecond that says which log a second
// state is of: the stored time of the last message that it has applied. After a log has
// lost its end, another one may have that number.
const StoredKey = "stored"

// sameState reports whether a stored second state is the one of a name and metadata.
func (m *SecondMeta) sameState(name SecondName, metadata map[string]string) bool {
	return m.Name == name && m.Metadata[StoredKey] == metadata[StoredKey]
}

// abandonedAfter is how long no piece came to an upload that has not ended, after
// which its pieces are removed.
const abandonedAfter = 10 * time.Minute

// Object is the name of the object with a partition's second state.
func (n SecondName) Object(partition int) string { return secondName(partition, n) }

func secondName(partition int, n SecondName) string {
	return fmt.Sprintf("second/%d/%s/%020d/%020d", partition, n.Set, n.From, n.Seq)
}

// secondOf reads an object's name; ok is false if it is not that of a second state.
func secondOf(subject, name string) (m SecondMeta, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 5 || parts[0] != "second" {
		return m, false
	}
	var errP, errFrom, errSeq error
	m.Partition, errP = strconv.Atoi(parts[1])
	m.Name.Set = parts[2]
	m.Name.From, errFrom = strconv.ParseUint(parts[3], 10, 64)
	m.Name.Seq, errSeq = strconv.ParseUint(parts[4], 10, 64)
	m.Seq, m.subject = m.Name.Seq, subject
	return m, errP == nil && errFrom == nil && errSeq == nil
}

// PutSecond stores the content of r as the partition's second state of a name, as
// PutSnapshot stores a snapshot; kept says that it is made for a switch. If a kept one
// of that name and of the same log (StoredKey) is stored already it stays, and r is not
// read. Afterwards those of the partition are removed that need not be kept.
func (c *Conn) PutSecond(ctx context.Context, partition int, name SecondName, kept bool, metadata map[string]string, r io.Reader) error {
	st, err := c.snapshotsAnew(ctx)
	if err == nil {
		err = c.putSecond(ctx, st, partition, name, kept, metadata, r)
	}
	if err != nil {
		return fmt.Errorf("put second state of partition %d at message %d: %w", partition, name.Seq, err)
	}
	within, cancel := context.WithTimeout(ctx, trimWithin)
	defer cancel()
	if err := c.trimSeconds(within, st, partition); err != nil {
		c.Log.Warn("old second states are not removed yet: trying again after the next one", "partition", partition, "error", err)
	}
	return nil
}

func (c *Conn) putSecond(ctx context.Context, st jetstream.Stream, partition int, name SecondName, kept bool, metadata map[string]string, r io.Reader) error {
	all, err := c.listSeconds(ctx, partition)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(m SecondMeta) bool { return m.Kept && m.sameState(name, metadata) }) {
		return nil
	}
	err = c.putObject(ctx, st, secondName(partition, name), fmt.Sprintf("second.%d.%020d", partition, name.Seq), r, func() map[string]string {
		all := map[string]string{secondEngineKey: strconv.Itoa(name.Engine), secondKeptKey: strconv.FormatBool(kept)}
		maps.Copy(all, metadata)
		return all
	})
	if err != nil {
		return err
	}
	for _, m := range all { // the new metadata has replaced that of one of the same name, whose pieces nobody finds any more
		if m.Name.Set != name.Set || m.Name.From != name.From || m.Name.Seq != name.Seq {
			continue
		}
		if err := st.Purge(ctx, jetstream.WithPurgeSubject(c.Names.pieceSubject(m.object.NUID))); err != nil {
			c.Log.Warn("the pieces of a second state that was replaced are not removed yet", "partition", partition, "error", err)
		}
	}
	return nil
}

// Seconds returns the partition's second states, the newest first; none if the bucket
// does not exist.
func (c *Conn) Seconds(ctx context.Context, partition int) ([]SecondMeta, error) {
	all, err := c.listSeconds(ctx, partition)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the second states of partition %d: %w", partition, err)
	}
	return all, nil
}

func (c *Conn) listSeconds(ctx context.Context, partition int) (all []SecondMeta, err error) {
	var named []SecondMeta
	err = c.namedObjects(ctx, func(subject, name string) {
		if m, ok := secondOf(subject, name); ok && m.Partition == partition {
			named = append(named, m)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, m := range named {
		var there bool
		if m.SnapshotMeta, there, err = c.snapshotMeta(ctx, m.SnapshotMeta); err != nil {
			return nil, err
		}
		if m.Name.Engine, err = strconv.Atoi(m.Metadata[secondEngineKey]); there && err == nil {
			m.Kept = m.Metadata[secondKeptKey] == "true"
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b SecondMeta) int { return cmp.Or(cmp.Compare(b.Seq, a.Seq), b.Time.Compare(a.Time)) })
	return all, nil
}

// OpenSecond returns a reader of a second state, as OpenSnapshot does of a snapshot.
func (c *Conn) OpenSecond(ctx context.Context, m SecondMeta) (io.ReadCloser, error) {
	return c.openObject(ctx, m.SnapshotMeta, "second state")
}

// DropSeconds removes those second states of a partition for which chosen returns
// true, and what interrupted uploads have left.
func (c *Conn) DropSeconds(ctx context.Context, partition int, chosen func(SecondMeta) bool) error {
	st, err := c.snapshotsAnew(ctx)
	if err != nil {
		return err
	}
	all, err := c.listSeconds(ctx, partition)
	if err != nil {
		return err
	}
	return c.removeSeconds(ctx, st, partition, all, chosen)
}

// trimSeconds removes the partition's second states that need not be kept.
func (c *Conn) trimSeconds(ctx context.Context, st jetstream.Stream, partition int) error {
	all, err := c.listSeconds(ctx, partition)
	if err != nil {
		return err
	}
	first := uint64(0)
	if len(all) > 0 {
		if first, _, err = c.Extent(ctx, partition); err != nil {
			return err
		}
	}
	needless := map[string]bool{}
	for _, m := range needlessSeconds(all, first) {
		needless[m.subject] = true
	}
	return c.removeSeconds(ctx, st, partition, all, func(m SecondMeta) bool { return needless[m.subject] })
}

// needlessSeconds returns those of a partition's second states that need not be kept,
// if its log begins at message first: those after which the log has no message, and
// all but the last stored that were not made for a switch.
func needlessSeconds(all []SecondMeta, first uint64) (needless []SecondMeta) {
	var progress *SecondMeta
	for i, m := range all {
		if !m.Kept && (progress == nil || m.Time.After(progress.Time)) {
			progress = &all[i]
		}
	}
	for i, m := range all {
		if m.Seq+1 < first || !m.Kept && &all[i] != progress {
			needless = append(needless, m)
		}
	}
	return needless
}

// removeSeconds removes those of all second states of a partition for which chosen
// returns true, and pieces that belong to none, unless their upload may be under way.
func (c *Conn) removeSeconds(ctx context.Context, st jetstream.Stream, partition int, all []SecondMeta, chosen func(SecondMeta) bool) error {
	stay := map[string]bool{} // subjects of pieces
	for _, m := range all {   // remove the metadata first, so that none that is removed is listed
		pieces := c.Names.pieceSubject(m.object.NUID)
		if !chosen(m) {
			stay[pieces] = true
			continue
		}
		if err := st.Purge(ctx, jetstream.WithPurgeSubject(m.subject)); err != nil {
			return err
		}
		if err := st.Purge(ctx, jetstream.WithPurgeSubject(pieces)); err != nil {
			return err
		}
	}
	subjects, err := c.Wire.Subjects(ctx, c.Names.snapshotsStream(), c.Names.pieceSubject(fmt.Sprintf("second.%d.>", partition)))
	if err != nil {
		return err
	}
	subjects = slices.DeleteFunc(subjects, func(s string) bool { return stay[s] })
	if len(subjects) == 0 {
		return nil
	}
	now, err := c.Wire.Clock(ctx, c.Names.snapshotsStream())
	if err != nil {
		return err
	}
	for _, subject := range subjects {
		last, err := c.Wire.Last(ctx, c.Names.snapshotsStream(), subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && time.Duration(now-last.Time) < abandonedAfter {
			continue
		}
		if err == nil {
			err = st.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
