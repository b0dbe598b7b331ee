package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// item is `offerctl item`.
func item(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "item KIND KEY [--at TIME] (--events FILE --campaigns PATH | --nats URL) [--json]", `
Shows what is stored about an item: its features as campaigns read them, its last
update, how much it holds of what it may hold, and which users it is just telling of
an offer. Of a list of users it shows how many there are, and the 10 who are in it
for the longest. Live it asks the worker that owns the item's partition; with --at it
folds the item's part of the log again, from the oldest snapshot if the log no longer
reaches back.`,
		"offerctl item product p1 --nats nats://127.0.0.1:4222\nofferctl item product p1 --events events.jsonl --campaigns campaigns --at 2026-03-01T10:00:00Z")
	q := itemQuery{std: std}
	fs.StringVar(&q.events, "events", "", "a `FILE` of events, one JSON object per line, may be gzipped; - for standard input")
	fs.StringVar(&q.campaigns, "campaigns", "", "`PATH` of a campaign file or a directory of them, for --events")
	at := fs.String("at", "", "how it was at this `TIME`, such as 2026-03-01T10:00:00+09:00 (default: the end)")
	asJSON := fs.Bool("json", false, "print one JSON object, and nothing else")
	n := fs.nats()
	rest, err := fs.parse(args)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return usagef("%s given: name the kind and the key of one item, such as product p1", count(len(rest), "argument"))
	}
	if err := errors.Join(event.CheckKind(rest[0]), event.CheckItem(rest[1])); err != nil {
		return err
	}
	q.key = event.ItemKey(rest[0], rest[1])
	if *at != "" {
		if q.until, err = value.ParseTime(*at); err != nil {
			return usagef("--at %s: %v", *at, err)
		}
		q.bounded = true
	}
	var is *pipeline.Item
	switch {
	case q.events != "" && q.campaigns == "":
		return usagef("--events needs --campaigns")
	case q.events != "":
		is, err = q.file(ctx)
	case q.campaigns != "":
		return usagef("--campaigns needs --events")
	default:
		is, err = q.live(ctx, n)
	}
	switch {
	case err != nil:
		return err
	case *asJSON:
		return writeJSON(std.out, is)
	}
	return writeItem(onDisplay(std.out), is)
}

// An itemQuery is one run of the command.
type itemQuery struct {
	std               stdio
	key               string // of the entity
	events, campaigns string
	until             int64 // the last log time, if bounded
	bounded           bool
}

// file runs the campaigns over a file of events.
func (q *itemQuery) file(ctx context.Context) (*pipeline.Item, error) {
	def, err := loadCampaigns(q.campaigns)
	if err != nil {
		return nil, err
	}
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		return nil, problems[0] // cannot happen: the set was checked when it was loaded
	}
	if _, err := b.Item(q.key); err != nil { // the set has no such kind
		return nil, err
	}
	in, err := openInput(q.events, q.std)
	if err != nil {
		return nil, err
	}
	defer in.close()
	lines := explanation{std: q.std, until: q.until, bounded: q.bounded}
	if err := lines.lines(ctx, b, in); err != nil {
		return nil, fmt.Errorf("%s: %w", q.events, err)
	}
	return b.Item(q.key)
}

// live asks the owner of the item's partition, or folds its log up to a time.
func (q *itemQuery) live(ctx context.Context, n natsFlags) (is *pipeline.Item, err error) {
	conn, err := n.connect(ctx, q.std)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if q.bounded {
		return q.replay(ctx, conn)
	}
	a, err := askOwner(ctx, conn, broker.Query{Key: q.key})
	switch {
	case err != nil:
		return nil, err
	case a.Item == nil:
		return nil, errors.New("the worker is of a version that knows no items: start the new version")
	}
	is = new(pipeline.Item)
	if err := json.Unmarshal(a.Item, is); err != nil {
		return nil, fmt.Errorf("the worker's answer: %w", err)
	}
	return is, nil
}

// replay folds the item's part of the log up to a log time.
func (q *itemQuery) replay(ctx context.Context, conn *broker.Conn) (is *pipeline.Item, err error) {
	live := newProgress(q.std.err)
	defer live.done()
	err = audit.Replay(ctx, conn, audit.ReplayOptions{
		Users: []string{q.key}, Until: q.until, Workers: 1,
		Log: slog.New(slog.NewTextHandler(q.std.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
		End: func(_ int, f *pipeline.Fold, _ audit.Replayed) (err error) {
			if is, err = f.Item(q.key); err != nil { // another set may have been live
				err = fmt.Errorf("at that time: %w", err)
			}
			return err
		},
		Progress: func(p int, seq, end uint64) { live.show("partition %d: message %d of %d", p, seq, end) },
	})
	return is, err
}

// writeItem prints an item for people.
func writeItem(out io.Writer, is *pipeline.Item) error {
	fmt.Fprintf(out, "%s %s\n", is.Kind, is.ID)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if is.Known {
		fmt.Fprintf(w, "last update\t%s\n", is.Last)
		fmt.Fprintf(w, "forgotten\t%s, if no other comes\n", is.Forget)
	} else {
		fmt.Fprintln(w, "nothing is stored of it: no event has named it, or it was forgotten")
	}
	if is.Now != "" {
		fmt.Fprintf(w, "log time\t%s\n", is.Now)
	}
	fmt.Fprintf(w, "entries\t%d of at most %d\n", is.Size.Entries, is.Size.MostEntries)
	fmt.Fprintf(w, "bytes\t%d of at most %d\n", is.Size.EntryBytes, is.Size.MostEntryBytes)
	w.Flush()
	fmt.Fprintln(out)
	fmt.Fprintln(w, "feature\tvalue")
	for _, name := range slices.Sorted(maps.Keys(is.Features)) {
		fmt.Fprintf(w, "%s\t%s\n", name, featureText(is.Features[name]))
	}
	err := w.Flush()
	for _, s := range is.Sending {
		fmt.Fprintf(out, "\ncampaign %s: its offer is going to %s, %d of %d users have been told\n", s.Campaign, s.List, s.Told, s.Of)
	}
	if len(is.Renamed) > 0 {
		fmt.Fprintf(out, "\nvisitors who have become users, and of whom earlier events may come: %s\n", several(is.Renamed))
	}
	return err
}

// featureText is the value of a feature, of a list of users how many there are and the
// first of them.
func featureText(v json.RawMessage) string {
	var list struct {
		Size, Keep *int
		First      []string
	}
	if json.Unmarshal(v, &list) != nil || list.Size == nil || list.Keep == nil || list.First == nil {
		return string(v)
	}
	text := fmt.Sprintf("%s, at most %d", count(*list.Size, "user"), *list.Keep)
	if len(list.First) > 0 {
		text += ": " + strings.Join(list.First, ", ")
	}
	if *list.Size > len(list.First) {
		text += ", ..."
	}
	return text
}
