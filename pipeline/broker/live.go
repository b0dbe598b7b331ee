package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/task"
	"offerstream/pipeline/value"
)

// liveKey is the key of the record.
const liveKey = "live"

// Live is the bucket's record: which campaign set is live, and what is to become
// of it. It is the value of key live.
type Live struct {
	Revision uint64    `json:"revision"` // NextRevision; 0: written by a version that knew none
	Set      string    `json:"set"`      // hash of the live set; "": none is live
	By       string    `json:"by,omitempty"`
	At       string    `json:"at,omitempty"` // RFC 3339
	Previous *Previous `json:"previous,omitempty"`
	Backfill *Backfill `json:"backfill,omitempty"`
}

// Previous is the set to which a rollback returns.
type Previous struct {
	Set       string `json:"set"`
	At        string `json:"at,omitempty"`        // when it became live, RFC 3339
	Cancelled int    `json:"cancelled,omitempty"` // pending evaluations that its end has cancelled, as counted before it
}

// Backfill asks for a second fold under a set: until the record's live set is that
// set, which then becomes live by what the second fold has made.
type Backfill struct {
	Set       string   `json:"set"`
	Engine    int      `json:"engine"`
	Features  []string `json:"features"`          // names in the set that come from the second fold
	Campaigns []string `json:"campaigns"`         // ids in the set that do
	Overdue   string   `json:"overdue,omitempty"` // drop, now, or a duration; "": not decided yet
	Rate      float64  `json:"rate,omitempty"`    // share of a core for the second folds of a partition; 0: half
}

// Go reports whether the live set is live by backfill: in each partition it is put
// in force by a switch.
func (l Live) Go() bool { return l.Backfill != nil && l.Backfill.Set == l.Set }

// Asked is the set for which a second fold is asked that is not to become live yet;
// "": none.
func (l Live) Asked() string {
	if l.Backfill == nil || l.Go() {
		return ""
	}
	return l.Backfill.Set
}

// maxRecord is the size in bytes of a record, which must fit into a message of
// 1 MB, and its list into that of a control message.
const maxRecord = 512 << 10

// ErrLiveChanged means that the record has changed since it was read.
var ErrLiveChanged = errors.New("what is live, or paused, was changed by somebody else meanwhile: look at what it is now and try again")

// Live reads the record from the bucket's leader. rev is what PutLive needs to
// replace that record and no other.
func (c *Conn) Live(ctx context.Context) (live Live, rev uint64, err error) {
	value, rev, err := c.Wire.Get(ctx, c.Names.CampaignsBucket(), liveKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Live{}, 0, nil
	}
	if err == nil {
		live, err = readLive(value)
	}
	if err != nil {
		return Live{}, 0, fmt.Errorf("read which campaign set is live: %w", err)
	}
	return live, rev, nil
}

// readLive decodes the record. Up to engine 3 it was the set's hash alone.
func readLive(value []byte) (live Live, err error) {
	if !bytes.HasPrefix(value, []byte("{")) {
		return Live{Set: string(value)}, nil
	}
	if err := json.Unmarshal(value, &live); err != nil {
		return Live{}, fmt.Errorf("the record in the bucket cannot be decoded: %w: was it written by a newer version? Use that one", err)
	}
	return live, nil
}

// PutLive writes the record, provided that it is still the one that Live returned
// with rev (else ErrLiveChanged) and that the sets that it names are stored.
func (c *Conn) PutLive(ctx context.Context, live Live, rev uint64) error {
	sets := []string{live.Set}
	if asked := live.Asked(); asked != "" {
		sets = append(sets, asked)
	}
	for _, hash := range sets {
		if _, err := c.Set(ctx, hash); err != nil {
			return fmt.Errorf("make a campaign set live: %w", err)
		}
	}
	if err := c.putRecord(ctx, liveKey, live, rev); err != nil {
		return fmt.Errorf("make campaign set %s live: %w", live.Set, err)
	}
	return nil
}

// putRecord writes the value of a key, provided that rev is the key's revision.
func (c *Conn) putRecord(ctx context.Context, key string, record any, rev uint64) error {
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if len(data) > maxRecord {
		return fmt.Errorf("the record has %d bytes, at most %d fit: it lists too many names: change fewer campaigns at a time", len(data), maxRecord)
	}
	pub, err := c.Wire.Publisher(c.Names.campaignsSubject(key))
	if err != nil {
		return err
	}
	defer pub.Close()
	_, err = pub.Publish(ctx, nats.Header{}, data, rev)
	if err == nil {
		return nil
	}
	// An error does not tell whether it is stored: what the leader has does.
	have, now, errGet := c.Wire.Get(ctx, c.Names.CampaignsBucket(), key)
	var api *jetstream.APIError
	switch {
	case errGet == nil && now > rev && bytes.Equal(have, data):
		return nil
	case errGet == nil && now != rev, errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		return ErrLiveChanged
	}
	return err
}

// ErrAsked means that the record asks for a backfill, which a plain change would end.
var ErrAsked = errors.New("a backfill is under way: let it go live with `offerctl apply --go`, or end it with `offerctl apply --abort`")

// MakeLive makes a stored set the live one, plainly, provided that the record is still
// the one that Live returned with rev; otherwise it returns ErrLiveChanged. It returns
// ErrAsked while a backfill is asked for.
func (c *Conn) MakeLive(ctx context.Context, hash string, rev uint64) error {
	was, now, err := c.Live(ctx)
	if err != nil {
		return err
	}
	if now != rev {
		return ErrLiveChanged
	}
	if was.Asked() != "" {
		return ErrAsked
	}
	live := Live{Set: hash, At: value.FormatTime(c.World.Now().UnixNano())}
	if was.Set != "" {
		live.Previous = &Previous{Set: was.Set, At: was.At}
	}
	if live.Revision, err = c.NextRevision(ctx, was.Revision, LiveRevision); err != nil {
		return err
	}
	return c.PutLive(ctx, live, rev)
}

// WatchLive calls fn with the record (the zero Live if there is none), and again
// whenever it changes, until ctx is done or the connection is closed. It may skip a
// record that stood only for a moment, and may be late: what fn is told is a hint.
func (c *Conn) WatchLive(ctx context.Context, fn func(Live)) error {
	return watchRecord(ctx, c, liveKey, readLive, fn)
}

// watchRecord watches the value of a key, which read decodes.
func watchRecord[T any](ctx context.Context, c *Conn, key string, read func([]byte) (T, error), fn func(T)) error {
	var told []byte
	have := false
	tell := func(value []byte) {
		if have && bytes.Equal(value, told) {
			return
		}
		told, have = bytes.Clone(value), true
		record, err := read(value)
		if err != nil {
			c.Log.Error("what is live or paused cannot be read", "key", key, "error", err)
			return
		}
		fn(record)
	}
	return c.watch(ctx, key, tell)
}

// watch calls fn with the value of a key (nil if there is none), and again whenever
// it changes, until ctx is done or the connection is closed.
func (c *Conn) watch(ctx context.Context, key string, fn func(value []byte)) error {
	for {
		err := c.Wire.Watch(ctx, c.Names.CampaignsBucket(), key, fn)
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case c.Wire.IsClosed():
			return fmt.Errorf("watch what is live: %w", jetstream.ErrConnectionClosed)
		}
		c.Log.Warn("the watch on what is live has ended: watching again", "key", key, "error", err)
		if err := task.Sleep(ctx, c.World, time.Second); err != nil {
			return err
		}
	}
}
