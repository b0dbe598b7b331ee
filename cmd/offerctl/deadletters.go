package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// deadletters is `offerctl deadletters`.
func deadletters(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "deadletters list|replay [flags]", `
Dead letters are events that were not applied: events that the gateway refused
within a batch (gateway/SEQ.N), and events or timers that triggered a bug or could
not be read (PARTITION/N). Offers that offerctl deliver has given up are dead letters
too (deliver/SEQ): list shows them, and offerctl deliver --letters sends them again.

A gateway that gets very many bad events stores a part of them. Its metrics count
all.

list shows them, the oldest first: the id, the time, the reason, the event's
messageId and user if they can be read, and its first bytes.

replay sends them through a gateway like any other event, one by one. A dead
letter that is still not a valid event is not sent. An event that was already
counted has no effect while it is among the newest 64 events of its user or
younger than 15 minutes; otherwise it counts again, as an event of now. The dead
letter of a timer (reason panic) holds the event that set the timer, which was
already counted. Dead letters stay: list keeps showing them after they were sent
again. The exit status is 1 if one was not sent.

What a browser sent without proof of its user is sent as that, whatever the key is:
a key of role server proves nobody. Events that a browser may not send, such as
consent, need --server-key, if a server sent them; a browser's never become dead
letters.`,
		"offerctl deadletters list --since 24h --nats nats://127.0.0.1:4222\nofferctl deadletters replay --id 3/17 --dry-run\nofferctl deadletters replay --all --gateway --since 2h --to http://127.0.0.1:8080 --server-key KEY")
	d := letters{std: std, n: fs.nats(), ids: map[string]bool{}}
	all, gateway := d.flags(fs)
	to := fs.String("to", "http://127.0.0.1:8080", "replay: the gateway's `URL`")
	keys := fs.keys("replay: ")
	rest, err := fs.parse(args)
	if err != nil {
		return err
	}
	key, err := keys.one()
	if err != nil {
		return err
	}
	if *gateway && d.source == "" {
		d.source = broker.FromGateway
	}
	switch {
	case len(rest) != 1 || rest[0] != "list" && rest[0] != "replay":
		return usagef("no subcommand: write deadletters list or deadletters replay")
	case *gateway && d.source != broker.FromGateway:
		return usagef("--gateway and --partition exclude each other")
	case d.limit < 0:
		return usagef("--limit %d is negative", d.limit)
	case rest[0] == "list" && (*all || len(d.ids) > 0 || d.dry):
		return usagef("--id, --all and --dry-run are only for replay")
	case rest[0] == "list":
		return d.with(ctx, d.list)
	case *all == (len(d.ids) > 0):
		return usagef("name the dead letters: give either --id or --all")
	case len(d.ids) > 0 && (d.source != "" || !d.since.IsZero()):
		return usagef("--partition, --gateway and --since go with --all, not with --id")
	case key == "" && !d.dry:
		return usagef("--server-key or --write-key is required")
	}
	d.sender = newSender(*to, key)
	return d.with(ctx, d.replay)
}

// flags declares the flags that select dead letters and how they are shown.
func (d *letters) flags(fs *flags) (all, gateway *bool) {
	fs.Func("partition", "only those of partition `N`", func(v string) error {
		if !letterID.MatchString(v + "/1") {
			return errors.New("it is not the number of a partition")
		}
		d.source = v
		return nil
	})
	gateway = fs.Bool("gateway", false, "only those of the gateway")
	fs.Func("since", "only those stored since `WHEN`: a time in RFC 3339, or a duration before now, such as 24h", func(v string) (err error) {
		d.since, err = sinceWhen(v, time.Now())
		return err
	})
	fs.BoolVar(&d.asJSON, "json", false, "list: one JSON object per line")
	fs.IntVar(&d.limit, "limit", 100, "list: the newest `N`; 0: all")
	fs.BoolVar(&d.raw, "raw", false, "list: show whole events, not only their first bytes")
	fs.Func("id", "replay: this one, `PARTITION/N` or gateway/SEQ.N; may be repeated", func(v string) error {
		if !letterID.MatchString(v) {
			return errors.New("it is neither PARTITION/N nor gateway/SEQ.N")
		}
		d.ids[v] = true
		return nil
	})
	all = fs.Bool("all", false, "replay: all that --partition, --gateway and --since select")
	fs.BoolVar(&d.dry, "dry-run", false, "replay: show what would be sent, and send nothing")
	return all, gateway
}

// letterID also matches gateway/SEQ: older gateways stored each letter as a message.
var letterID = regexp.MustCompile(`^((gateway|deliver|0|[1-9][0-9]*)/[1-9][0-9]*|gateway/[1-9][0-9]*\.[1-9][0-9]*)$`)

// sinceWhen reads a time, or a duration before now.
func sinceWhen(v string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(v); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	ns, err := value.ParseTime(v)
	if err != nil {
		return time.Time{}, errors.New("it is neither a time in RFC 3339, such as 2026-03-01T12:00:00Z, nor a duration, such as 24h")
	}
	return time.Unix(0, ns), nil
}

// letters is one run of the command.
type letters struct {
	std    stdio
	n      natsFlags
	source string
	since  time.Time

	asJSON, raw bool
	limit       int

	ids    map[string]bool // wanted and not found yet; empty: all
	dry    bool
	sender *sender
	dec    event.Decoder
	sent   int
	unsent int
}

func (d *letters) with(ctx context.Context, do func(context.Context, *broker.Conn) error) error {
	conn, err := d.n.connect(ctx, d.std)
	if err != nil {
		return err
	}
	defer conn.Close()
	if p, err := strconv.Atoi(d.source); err == nil && p >= conn.Partitions {
		return usagef("--partition %d: there are partitions 0 to %d", p, conn.Partitions-1)
	}
	return do(ctx, conn)
}

// A shownLetter is a line of list --json.
type shownLetter struct {
	ID        string `json:"id"`
	Stored    string `json:"stored"`
	Message   uint64 `json:"message,omitempty"` // of the partition's log
	Logged    string `json:"logged,omitempty"`  // when that was stored
	Reason    string `json:"reason"`
	Detail    string `json:"detail"`
	Bytes     int    `json:"bytes"`
	MessageID string `json:"message_id,omitempty"`
	User      string `json:"user,omitempty"`
	Anonymous bool   `json:"anonymous,omitempty"`
	Item      string `json:"item,omitempty"` // kind/id, of an event about an item
	Raw       string `json:"raw"`
}

// rawShown is the number of characters of an event that are shown.
const rawShown = 160

func (d *letters) list(ctx context.Context, conn *broker.Conn) error {
	n := 0
	err := conn.ScanDeadLetters(ctx, d.source, d.since, d.limit, func(l *broker.DeadLetter) error {
		n++
		return d.show(l)
	})
	if err != nil || d.asJSON {
		return err
	}
	switch {
	case n == 0:
		fmt.Fprintln(d.std.out, "no dead letters")
	case n == d.limit:
		fmt.Fprintf(d.std.out, "the newest %d; --limit 0 shows all\n", n)
	}
	return nil
}

// show prints a dead letter.
func (d *letters) show(l *broker.DeadLetter) error {
	s := shownLetter{ID: l.ID(), Stored: value.FormatTime(l.Stored.UnixNano()), Message: l.Pos.S, Reason: l.Reason, Detail: l.Detail, Bytes: len(l.Raw)}
	if l.Pos.T != 0 {
		s.Logged = value.FormatTime(l.Pos.T)
	}
	id, key := event.Whose(l.Raw)
	if o := new(pipeline.Offer); l.Source == broker.FromDeliver && json.Unmarshal(l.Raw, o) == nil && o.User != "" {
		key = o.Entity()
	}
	s.MessageID = id
	if kind, item, ok := event.ItemParts(key); ok {
		s.Item = kind + "/" + item
	} else if key != "" {
		s.User, s.Anonymous = key[2:], key[0] == 'a'
	}
	if d.asJSON {
		s.Raw = string(l.Raw)
		if !d.raw {
			s.Raw = printable(s.Raw, rawShown)
		}
		return writeJSON(d.std.out, s)
	}
	most := rawShown
	if d.raw {
		most = len(l.Raw)
	}
	line := []string{s.ID, s.Stored, s.Reason, fmt.Sprint(s.Bytes, " bytes")}
	if s.Message != 0 {
		line = append(line, fmt.Sprint("of message ", s.Message))
	}
	if s.MessageID != "" {
		line = append(line, "messageId "+s.MessageID)
	}
	if s.Item != "" {
		line = append(line, "item "+s.Item)
	}
	if s.User != "" {
		line = append(line, map[bool]string{false: "user ", true: "anonymous "}[s.Anonymous]+s.User)
	}
	_, err := fmt.Fprintf(d.std.out, "%s\n    %s\n    %s\n", printable(strings.Join(line, "  "), 2000), printable(s.Detail, 2000), printable(string(l.Raw), most))
	return err
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printable returns text from outside in a form that is safe to show on a
// terminal: on one line, cut, and without control characters.
func printable(s string, most int) string {
	n := 0
	var b strings.Builder
	for _, r := range s {
		if n++; n > most {
			b.WriteString("...")
			break
		}
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case !unicode.IsPrint(r):
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (d *letters) replay(ctx context.Context, conn *broker.Conn) error {
	named := len(d.ids) > 0
	d.sender.notify = func(err error) { fmt.Fprintf(d.std.err, "waiting: %v\n", err) }
	if ids := slices.Sorted(maps.Keys(d.ids)); named {
		first, _, _ := strings.Cut(ids[0], "/")
		if last, _, _ := strings.Cut(ids[len(ids)-1], "/"); first == last { // otherwise all sources are scanned
			d.source = first
		}
	}
	err := conn.ScanDeadLetters(ctx, d.source, d.since, 0, func(l *broker.DeadLetter) error {
		if named && !d.ids[l.ID()] {
			return nil
		}
		delete(d.ids, l.ID())
		if err := d.send(ctx, l); err != nil {
			return fmt.Errorf("%s: %w; %d were sent before", l.ID(), err, d.sent)
		}
		if named && len(d.ids) == 0 {
			return errFound
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(d.ids)) {
		d.unsent++
		fmt.Fprintf(d.std.out, "%s  not found: the dead letter may have been trimmed\n", id)
	}
	fmt.Fprintf(d.std.out, "%d %s, %d not sent\n", d.sent, map[bool]string{false: "sent", true: "would be sent"}[d.dry], d.unsent)
	if d.unsent > 0 {
		return errSilent
	}
	return nil
}

var errFound = errors.New("all named dead letters are found")

// sentBy is who sent the event of a dead letter, as the gateway must know it to judge
// it again: "" for who knew whom it is about. A letter of a partition is from the log,
// where an event without proof says so. Of a gateway's letter without a sender, which
// older ones wrote, nothing is known; nor of a timer's letter, which has only what was
// kept of an event, without its proof and the gateway's receivedAt.
func sentBy(l *broker.DeadLetter, ev *event.Event) string {
	switch {
	case l.Source == broker.FromGateway && l.Sender == "":
		return "browser"
	case l.Source == broker.FromGateway && l.Sender != "trusted":
		return l.Sender
	case l.Source != broker.FromGateway && (ev.NoProof || !ev.HasReceived):
		return "browser"
	}
	return ""
}

// send sends the event of a dead letter, if it is valid.
func (d *letters) send(ctx context.Context, l *broker.DeadLetter) error {
	ev, err := d.dec.AdmitLive(l.Raw, 0)
	if l.Source == broker.FromDeliver {
		err = errors.New("it is an offer, not an event: offerctl deliver --letters sends offers again")
	}
	if err == nil && ev.Type == event.Clock {
		err = errors.New("it is a clock event: offerctl replay sends one at its end")
	}
	if err == nil && !d.dry {
		d.sender.as = sentBy(l, ev)
		err = d.sender.send(ctx, "/v1/"+ev.Type.String(), l.Raw)
		if err != nil && !errors.Is(err, errNoEvent) {
			return err
		}
	}
	if err != nil {
		d.unsent++
		fmt.Fprintf(d.std.out, "%s  not sent: %s\n", l.ID(), printable(err.Error(), 400))
		return nil
	}
	d.sent++
	fmt.Fprintf(d.std.out, "%s  %s  %s  messageId %s\n", l.ID(), map[bool]string{false: "sent", true: "would be sent"}[d.dry], ev.Type, printable(ev.ID, 200))
	return nil
}
