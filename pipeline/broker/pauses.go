package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// pausedKey is the key of the Pauses. They have a key of their own, and so
// revisions of their own: who pauses does not undo who applies.
const pausedKey = "paused"

// mostPaused is how many campaigns and channels can be paused at a time: a fold
// refuses a control message with more.
const mostPaused = 1000

// Pauses are the campaigns and channels that operators have paused, and the value
// of key paused.
type Pauses struct {
	Revision  uint64            `json:"revision"`            // NextRevision
	Campaigns []string          `json:"campaigns,omitempty"` // ids of campaigns, or of their rows
	Channels  []string          `json:"channels,omitempty"`
	Resumed   map[string]uint64 `json:"resumed,omitempty"` // by PauseName: the revision at which it was last resumed, which ends a brake that tripped under a lower one
	Reasons   map[string]string `json:"reasons,omitempty"` // by PauseName: who paused it, and why; not in the log
	By        string            `json:"by,omitempty"`
	At        string            `json:"at,omitempty"` // RFC 3339
}

// PauseName names what is paused, a campaign if channel is empty: "channel sms" or
// "campaign welcome".
func PauseName(channel, campaign string) string {
	if channel != "" {
		return "channel " + channel
	}
	return "campaign " + campaign
}

// Pauses reads the pauses from the bucket's leader. rev is what PutPauses needs.
func (c *Conn) Pauses(ctx context.Context) (pauses Pauses, rev uint64, err error) {
	value, rev, err := c.Wire.Get(ctx, c.Names.CampaignsBucket(), pausedKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Pauses{}, 0, nil
	}
	if err == nil {
		pauses, err = readPauses(value)
	}
	if err != nil {
		return Pauses{}, 0, fmt.Errorf("read what is paused: %w", err)
	}
	return pauses, rev, nil
}

func readPauses(value []byte) (pauses Pauses, err error) {
	if len(value) == 0 {
		return Pauses{}, nil
	}
	if err := json.Unmarshal(value, &pauses); err != nil {
		return Pauses{}, fmt.Errorf("the record in the bucket cannot be decoded: %w: was it written by a newer version? Use that one", err)
	}
	return pauses, nil
}

// PutPauses writes the pauses, provided that they are still those that Pauses
// returned with rev; otherwise it returns ErrLiveChanged.
func (c *Conn) PutPauses(ctx context.Context, pauses Pauses, rev uint64) error {
	err := pauses.check()
	if err == nil {
		err = c.putRecord(ctx, pausedKey, pauses, rev)
	}
	if err != nil {
		return fmt.Errorf("change what is paused: %w", err)
	}
	return nil
}

// check refuses what would stop the partitions, as a control message.
func (p Pauses) check() error {
	if n := len(p.Campaigns) + len(p.Channels); n > mostPaused {
		return fmt.Errorf("%d campaigns and channels would be paused, at most %d can be", n, mostPaused)
	}
	if slices.Contains(p.Campaigns, "") || slices.Contains(p.Channels, "") {
		return errors.New("a campaign or channel has no name")
	}
	return nil
}

// WatchPauses is WatchLive for the pauses.
func (c *Conn) WatchPauses(ctx context.Context, fn func(Pauses)) error {
	return watchRecord(ctx, c, pausedKey, readPauses, fn)
}
