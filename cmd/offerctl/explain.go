package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/explain"
	"offerstream/pipeline/value"
	"offerstream/pipeline/zone"
)

// explainUser is `offerctl explain`.
func explainUser(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "explain USER [CAMPAIGN] [--at TIME] (--events FILE --campaigns PATH | --nats URL) [--anonymous] [--all] [--json]", `
Tells why a user got an offer, or got none: first in one sentence, then each
evaluation with its stages in order, what each condition read, and how it ended.
Of a campaign that nothing has triggered it tells which event came nearest. It
computes the user's evaluations anew, from a file of events or from the log of a
deployment (from the oldest snapshot if the log no longer reaches back), so that
it also knows of offers that did not go out. Times are those of the campaign set's
zone.`,
		`offerctl explain 541312140 --events events.jsonl --campaigns deploy/campaigns
offerctl explain ada cart-left --nats nats://127.0.0.1:4222`)
	q := explanation{std: std}
	fs.StringVar(&q.events, "events", "", "a `FILE` of events, one JSON object per line, may be gzipped; - for standard input")
	fs.StringVar(&q.campaigns, "campaigns", "", "`PATH` of a campaign file or a directory of them, for --events")
	at := fs.String("at", "", "how it was at this `TIME`, such as 2026-03-01T10:00:00+09:00 (default: the end)")
	fs.BoolVar(&q.anonymous, "anonymous", false, "USER is an anonymousId (default: a userId, or else an anonymousId)")
	fs.BoolVar(&q.all, "all", false, "all evaluations that are kept, the newest 200 of a campaign (default: the newest 10 of one campaign, or the newest of each)")
	fs.BoolVar(&q.json, "json", false, "print one JSON object, and nothing else")
	n := fs.nats()
	rest, err := fs.parse(args)
	if err != nil {
		return err
	}
	if len(rest) == 0 || len(rest) > 2 {
		return usagef("%s given: name a user, and perhaps a campaign", count(len(rest), "argument"))
	}
	q.user = rest[0]
	if len(rest) == 2 {
		q.campaign = rest[1]
	}
	if err := event.CheckUser(q.user); err != nil {
		return err
	}
	if *at != "" {
		if q.until, err = value.ParseTime(*at); err != nil {
			return usagef("--at %s: %v", *at, err)
		}
		q.bounded = true
	}
	switch {
	case q.events != "" && q.campaigns == "":
		return usagef("--events needs --campaigns")
	case q.events != "":
		err = q.file(ctx)
	case q.campaigns != "":
		return usagef("--campaigns needs --events")
	default:
		err = q.live(ctx, n)
	}
	if err != nil {
		return err
	}
	return q.tell()
}

// An explanation is one run of the command.
type explanation struct {
	std                  stdio
	user, campaign       string
	events, campaigns    string
	anonymous, all, json bool
	until                int64 // the last log time, if bounded
	bounded              bool
	recorder             *explain.Recorder
	def                  *campaign.Definition // that was in force at the end
	seen                 func(key string) bool
	where                string // in what the user's events were looked for
}

// keys are the entity keys that the user may have.
func (q *explanation) keys() []string {
	if q.anonymous {
		return []string{"a:" + q.user}
	}
	return []string{"u:" + q.user, "a:" + q.user}
}

// file runs the campaigns over a file of events.
func (q *explanation) file(ctx context.Context) error {
	def, err := loadCampaigns(q.campaigns)
	if err != nil {
		return err
	}
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		return problems[0] // cannot happen: the set was checked when it was loaded
	}
	in, err := openInput(q.events, q.std)
	if err != nil {
		return err
	}
	defer in.close()
	q.recorder, q.def, q.where = explain.New(q.keys()...), def, q.events
	q.seen = func(key string) bool { return b.Users[key] != nil }
	q.recorder.Watch(b)
	if err := q.lines(ctx, b, in); err != nil {
		return fmt.Errorf("%s: %w", q.events, err)
	}
	return nil
}

// lines applies the lines of a file up to the log time that was asked for.
func (q *explanation) lines(ctx context.Context, b *pipeline.Backtest, in *input) error {
	var dec event.Decoder
	var refused refusals
	ignore := func(*pipeline.Offer) {}
	for n := 1; ; n++ {
		line, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			if q.bounded {
				err = b.Line(clockEvent(q.until), ignore)
			} else {
				err = nil
			}
			return errors.Join(err, refused.all(in, b.Lines-refused.n))
		case err == errLongLine:
			refused.add(n, err)
			b.Lines++
			continue
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case len(strings.TrimSpace(string(line))) == 0:
			continue
		}
		ev, wrong := dec.AdmitLine(line)
		if wrong == nil && q.bounded && ev.HasTimestamp && ev.Timestamp > q.until {
			return b.Line(clockEvent(q.until), ignore)
		}
		if err := b.Admitted(ev, wrong, ignore); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if b.Refused != nil {
			refused.add(n, b.Refused)
		}
	}
}

// clockEvent moves log time to a time.
func clockEvent(at int64) []byte {
	return fmt.Appendf(nil, `{"type":"clock","timestamp":%q}`, value.FormatTime(at))
}

// tell prints the story.
func (q *explanation) tell() error {
	key := ""
	for _, k := range q.keys() {
		if q.seen(k) {
			key = k
			break
		}
	}
	if key == "" {
		return fmt.Errorf("%s has no event of user %s", q.where, q.user)
	}
	if err := q.known(); err != nil {
		return err
	}
	loc := time.UTC
	if z, ok := zone.Load(q.def.Zone); ok {
		loc = z
	}
	newest := 1
	switch {
	case q.all:
		newest = 0
	case q.campaign != "":
		newest = 10
	}
	s := q.recorder.Story(explain.Query{User: key, Campaign: q.campaign, Newest: newest, Zone: loc})
	if q.json {
		enc := json.NewEncoder(q.std.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	return s.WriteText(q.std.out)
}

// known returns an error if the set has no such campaign.
func (q *explanation) known() error {
	name, _, _ := strings.Cut(q.campaign, "/")
	if name == "" {
		return nil
	}
	var ids []string
	for _, c := range q.def.Campaigns {
		if c.ID == name {
			return nil
		}
		ids = append(ids, c.ID)
	}
	hint := "it has " + strings.Join(ids, ", ")
	if best := campaign.Nearest(name, ids); best != "" {
		hint = fmt.Sprintf("did you mean %q?", best)
	}
	return fmt.Errorf("the set has no campaign %s: %s", name, hint)
}

// live replays the user's part of a deployment's log.
func (q *explanation) live(ctx context.Context, n natsFlags) error {
	return errors.New("explain --nats is not there yet")
}
