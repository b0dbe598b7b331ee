package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

// A DeadLetter is an event that could not be applied, as it is stored: a record
// of chain dead.<p>, or an event that the gateway refused. Or it is an offer that could
// not be delivered.
type DeadLetter struct {
	Source string            // a partition's number, FromGateway or FromDeliver
	Number uint64            // on the chain; of the other sources, the sequence in DEADLETTERS
	Part   int               // from the gateway, its place in that message, from 1; 0 if the message is one letter
	Pos    pipeline.Position // of a chain's record; zero from the gateway
	Stored time.Time
	Reason string // one word
	Detail string
	Sender string // from the gateway, who sent it (browser, verified, trusted); "": not known
	Raw    []byte // the event as it came, cut to 900 KB
}

// ID names the letter, such as 3/17, gateway/42.1 or gateway/42.
func (d *DeadLetter) ID() string {
	id := d.Source + "/" + strconv.FormatUint(d.Number, 10)
	if d.Part > 0 {
		id += "." + strconv.Itoa(d.Part)
	}
	return id
}

// FromGateway is the Source of the dead letters of the gateway.
const FromGateway = "gateway"

// FromDeliver is the Source of offers that could not be delivered.
const FromDeliver = "deliver"

// Undelivered stores offers that could not be delivered as dead letters. Like gateways
// they use half of DEADLETTERS, as the rest is for the workers.
type Undelivered struct {
	conn *Conn
	room letterRoom
}

// Undelivered returns where such offers are stored.
func (c *Conn) Undelivered() *Undelivered { return &Undelivered{conn: c} }

// Put stores an offer, and returns when it is acknowledged. Within two minutes it is
// stored once under the same id. Without room it returns ErrNoRoom.
func (u *Undelivered) Put(ctx context.Context, id string, d pipeline.Dead) error {
	m := &nats.Msg{Subject: u.conn.Names.DeadDeliver(), Header: nats.Header{}}
	putDead(m, d)
	if err := u.room.take(ctx, u.conn, len(m.Data)); err != nil {
		return err
	}
	if _, err := u.conn.JS.PublishMsg(ctx, m, jetstream.WithMsgID(id)); err != nil {
		return fmt.Errorf("publish to %s: %w", m.Subject, err)
	}
	return nil
}

// Letter reads a message of DeadDeliver.
func Letter(m jetstream.Msg) (*DeadLetter, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	all := letters(&walked{seq: meta.Sequence.Stream, stored: meta.Timestamp, subject: m.Subject(), header: m.Headers(), data: m.Data()})
	if len(all) != 1 {
		return nil, fmt.Errorf("message %d of %s is not one dead letter", meta.Sequence.Stream, m.Subject())
	}
	return all[0], nil
}

// headerLetters is the header of a message of the gateway's that holds several
// letters: how many. Each of them is a line with a letterHead, then the event as
// it came, which need not be JSON, nor text, and a line break:
//
//	{"reason":"type","detail":"type is missing","bytes":15,"sender":"browser"}
//	{"userId":"u1"}
//
// A message without this header is one letter, as a chain's record is: the event,
// with the reason and the detail in headers.
const headerLetters = "Offerstream-Letters"

type letterHead struct {
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	Bytes  int    `json:"bytes"` // of the event
	Sender string `json:"sender,omitempty"`
}

// packLetters makes m the message of several letters.
func packLetters(m *nats.Msg, letters []pipeline.Dead) error {
	m.Data = nil
	for _, d := range letters {
		raw := d.Raw[:min(len(d.Raw), maxLetter)]
		head, err := json.Marshal(letterHead{d.Reason, d.Detail[:min(len(d.Detail), maxDetail)], len(raw), d.Sender})
		if err != nil {
			return fmt.Errorf("dead letter: %w", err)
		}
		m.Data = append(append(m.Data, head...), '\n')
		m.Data = append(append(m.Data, raw...), '\n')
	}
	setHeader(m.Header, headerLetters, strconv.Itoa(len(letters)))
	return nil
}

// ScanDeadLetters calls fn with each dead letter of a source ("": all sources)
// that was stored after since (the zero time: all), in the order in which they
// were stored. If newest is not 0, it skips all but that many of the newest. fn
// may keep the letter.
func (c *Conn) ScanDeadLetters(ctx context.Context, source string, since time.Time, newest int, fn func(*DeadLetter) error) error {
	filter := c.Names.subject("dead.*")
	if source != "" {
		filter = c.Names.subject("dead." + source)
	}
	w, err := c.walk(ctx, c.Names.DeadStream(), filter, 16, since)
	if err != nil {
		return err
	}
	defer func() { w.close() }()
	last, err := w.last(ctx)
	if err != nil || last == 0 {
		return err
	}
	skip := 0
	if newest > 0 {
		// How many letters the newest messages hold is known only once they are
		// read. They are read twice rather than kept: they may be large.
		first, letters, err := w.count(ctx, last, newest)
		if err != nil {
			return err
		}
		skip = max(letters-newest, 0)
		w.close()
		if w, err = c.walk(ctx, c.Names.DeadStream(), filter, 16, time.Time{}); err != nil {
			return err
		}
		w.next = first
	}
	return w.each(ctx, last, func(m *walked) error {
		for _, d := range letters(m) {
			if skip > 0 {
				skip--
				continue
			}
			if err := fn(d); err != nil {
				return err
			}
		}
		return nil
	})
}

// count counts the letters in the newest messages until last, and returns the
// sequence of the first of these messages.
func (w *walk) count(ctx context.Context, last uint64, newest int) (first uint64, n int, err error) {
	if err := w.open(ctx); err != nil {
		return 0, 0, err
	}
	skip := max(int(w.con.CachedInfo().NumPending)-newest, 0)
	first = last
	err = w.each(ctx, last, func(m *walked) error {
		if skip > 0 {
			skip--
			return nil
		}
		first = min(first, m.seq)
		n += len(letters(m))
		return nil
	})
	return first, n, err
}

// each calls fn with each message until last.
func (w *walk) each(ctx context.Context, last uint64, fn func(*walked) error) error {
	for {
		m, err := w.take(ctx)
		if err != nil || m == nil || m.seq > last {
			return err
		}
		if err := fn(m); err != nil {
			return err
		}
	}
}

// letters returns the letters in a message: none in a mark.
func letters(m *walked) []*DeadLetter {
	d := DeadLetter{Source: m.subject[strings.LastIndexByte(m.subject, '.')+1:], Number: m.seq, Stored: m.stored}
	switch {
	case len(m.header[headerAccepted]) > 0:
		return nil
	case d.Source == FromGateway && len(m.header[headerLetters]) > 0:
		return unpackLetters(d, m.data)
	}
	d.Reason, d.Detail, d.Raw = m.header.Get(headerReason), m.header.Get(headerDetail), m.data
	if text, err := url.PathUnescape(d.Detail); err == nil {
		d.Detail = text
	}
	if pos, err := ParsePosition(m.header); err == nil && d.Source != FromGateway && d.Source != FromDeliver {
		d.Pos, d.Number = pos, pos.N
	}
	return []*DeadLetter{&d}
}

// unpackLetters returns the letters in a message's data. What it cannot read, it
// returns as one letter, so that nothing that is stored is hidden.
func unpackLetters(of DeadLetter, data []byte) (all []*DeadLetter) {
	for len(data) > 0 {
		d := of
		d.Part = len(all) + 1
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		var head letterHead
		if err := json.Unmarshal(line, &head); err != nil || head.Bytes < 0 || head.Bytes >= len(rest) || rest[head.Bytes] != '\n' {
			d.Reason, d.Detail, d.Raw = "damaged", "the rest of the message is not what a gateway stores", data
			return append(all, &d)
		}
		d.Reason, d.Detail, d.Sender, d.Raw = head.Reason, head.Detail, head.Sender, rest[:head.Bytes:head.Bytes]
		data = rest[head.Bytes+1:]
		all = append(all, &d)
	}
	return all
}
