package broker

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline"
)

// A DeadLetter is an event that could not be applied, as it is stored: a record
// of chain dead.<p>, or an event that the gateway refused.
type DeadLetter struct {
	Source string            // a partition's number, or "gateway"
	Number uint64            // on the chain; from the gateway, the sequence in DEADLETTERS
	Pos    pipeline.Position // of a chain's record; zero from the gateway
	Stored time.Time
	Reason string // one word
	Detail string
	Raw    []byte // the event as it came, cut to 900 KB
}

// ID names the letter, such as 3/17 or gateway/42.
func (d *DeadLetter) ID() string { return d.Source + "/" + strconv.FormatUint(d.Number, 10) }

// FromGateway is the Source of the dead letters of the gateway.
const FromGateway = "gateway"

// ScanDeadLetters calls fn with each dead letter of a source ("": all sources)
// that was stored after since (the zero time: all), in the order in which they
// were stored. If newest is not 0, it skips all but about that many of the
// newest. fn may keep the letter.
func (c *Conn) ScanDeadLetters(ctx context.Context, source string, since time.Time, newest int, fn func(*DeadLetter) error) error {
	filter := c.Names.subject("dead.*")
	if source != "" {
		filter = c.Names.subject("dead." + source)
	}
	w, err := c.walk(ctx, c.Names.DeadStream(), filter, 16, since)
	if err != nil {
		return err
	}
	defer w.close()
	last, err := w.last(ctx)
	if err != nil || last == 0 {
		return err
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	skip := 0
	if newest > 0 {
		skip = max(int(w.con.CachedInfo().NumPending)-newest, 0)
	}
	for {
		m, err := w.take(ctx)
		if err != nil || m == nil || m.seq > last {
			return err
		}
		if skip > 0 {
			skip--
			continue
		}
		if len(m.header[headerAccepted]) > 0 {
			continue
		}
		if err := fn(w.letter(m)); err != nil {
			return err
		}
	}
}

func (w *walk) letter(m *walked) *DeadLetter {
	d := &DeadLetter{Source: m.subject[strings.LastIndexByte(m.subject, '.')+1:], Number: m.seq, Stored: m.stored,
		Reason: m.header.Get(headerReason), Detail: m.header.Get(headerDetail), Raw: m.data}
	if text, err := url.PathUnescape(d.Detail); err == nil {
		d.Detail = text
	}
	if pos, err := ParsePosition(m.header); err == nil && d.Source != FromGateway {
		d.Pos, d.Number = pos, pos.N
	}
	return d
}
