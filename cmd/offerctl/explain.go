package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
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
	fs.BoolVar(&q.all, "all", false, "all evaluations that are kept, the newest 200 of a campaign (default: the newest 10 of one campaign, or the newest of each of 20)")
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
		return q.live(ctx, n)
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
}

// keys are the entity keys that the user may have.
func (q *explanation) keys() []string {
	anonymous := event.UserKey(q.user, true)
	if q.anonymous {
		return []string{anonymous}
	}
	return []string{event.UserKey(q.user, false), anonymous}
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
	q.recorder, q.def = explain.New(q.keys()...), def
	q.seen = func(key string) bool { return b.Users[key] != nil }
	if q.campaign != "" {
		q.recorder.Triggers(campaign.NameOf(q.campaign))
	}
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
	accepted := uint64(0)
	err := in.each(ctx, &refused, func(line []byte) error {
		ev, err := dec.AdmitLine(line)
		if err == nil && q.bounded && q.isAfter(ev) {
			return errEnough
		}
		if err := b.Admitted(ev, err, ignore); err != nil {
			return err
		}
		if b.Refused == nil {
			accepted++
		}
		return b.Refused
	})
	if err == nil {
		err = refused.all(in, accepted)
	} else if err == errEnough {
		err = nil
	}
	if err == nil && q.bounded {
		err = b.Line(clockEvent(q.until), ignore)
	}
	return err
}

// isAfter reports whether an event moves log time past the one that was asked for.
func (q *explanation) isAfter(ev *event.Event) bool {
	if ev.Type == event.Clock && ev.HasLogTime {
		return ev.LogTime > q.until
	}
	return ev.HasTimestamp && ev.Timestamp > q.until
}

// clockEvent moves log time to a time.
func clockEvent(at int64) []byte {
	return fmt.Appendf(nil, `{"type":"clock","timestamp":%q}`, value.FormatTime(at))
}

// tell prints the story of the user whom the file knows.
func (q *explanation) tell() error {
	for _, k := range q.keys() {
		if !q.seen(k) {
			continue
		}
		of := q.query()
		of.User = k
		return q.show(q.recorder.Story(of))
	}
	return q.stranger(q.events)
}

// mostExplained bounds the campaigns of which explain tells without --all.
const mostExplained = 20

// query is what the story is to tell.
func (q *explanation) query() explain.Query {
	newest := 1
	switch {
	case q.all:
		newest = 0
	case q.campaign != "":
		newest = 10
	}
	most := mostExplained
	if q.all {
		most = 0
	}
	return explain.Query{Most: most, Campaign: q.campaign, Newest: newest, Zone: zone.OrUTC(q.def.Zone)}
}

// show prints a story.
func (q *explanation) show(s *explain.Story) error {
	if len(s.Campaigns) == 0 && q.campaign != "" {
		return q.unknown()
	}
	if err := q.unknownRow(s); err != nil {
		return err
	}
	if q.json {
		enc := json.NewEncoder(q.std.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	return s.WriteText(onDisplay(q.std.out))
}

// stranger is the error for a user of whom nothing is known.
func (q *explanation) stranger(where string) error {
	hint := ""
	if id, ok := strings.CutPrefix(q.user, "~"); ok && id != "" { // as the demo and scenarios write it
		hint = fmt.Sprintf(": if ~ stands for an anonymousId, write %s --anonymous", id)
	}
	return fmt.Errorf("%s has no event of user %s%s", where, q.user, hint)
}

// unknown is the error for a campaign that the set does not have.
func (q *explanation) unknown() error {
	name := campaign.NameOf(q.campaign)
	var ids []string
	for _, c := range q.def.Campaigns {
		ids = append(ids, c.ID)
	}
	hint := "it has " + strings.Join(ids, ", ")
	if best := campaign.Nearest(name, ids); best != "" {
		hint = fmt.Sprintf("did you mean %q?", best)
	}
	return fmt.Errorf("the set has no campaign %s: %s", name, hint)
}

// unknownRow is the error for a row that the campaign does not have, nor had.
func (q *explanation) unknownRow(s *explain.Story) error {
	name, row, _ := strings.Cut(q.campaign, "/")
	i := slices.IndexFunc(q.def.Campaigns, func(c campaign.Campaign) bool { return c.ID == name })
	if row == "" || i < 0 || len(s.Campaigns) == 0 || s.Campaigns[0].Outcomes["evaluated"] > 0 {
		return nil
	}
	var ids []string
	for _, r := range q.def.Campaigns[i].Rows {
		if r.ID == row {
			return nil
		}
		ids = append(ids, r.ID)
	}
	hint := ""
	if best := campaign.Nearest(row, ids); best != "" {
		hint = fmt.Sprintf(": did you mean %q?", name+"/"+best)
	}
	return fmt.Errorf("campaign %s has no row %s%s", name, row, hint)
}

// live replays the user's part of a deployment's log.
func (q *explanation) live(ctx context.Context, n natsFlags) error {
	conn, err := n.connect(ctx, q.std)
	if err != nil {
		return err
	}
	defer conn.Close()
	if q.def, err = liveDefinition(ctx, conn); err != nil {
		return err
	}
	if q.def == nil {
		return errors.New("no campaigns are live")
	}
	until := int64(0)
	if q.bounded {
		until = q.until
	}
	stories, err := logStories(ctx, conn, nil, q.keys(), q.query(), until, q.std)
	if err != nil {
		return err
	}
	for _, s := range stories {
		return q.show(s) // the userId comes before the anonymousId
	}
	return q.stranger("the log")
}

// logStories tells of users from the log of a deployment, under a set; nil: under the
// sets that were live. It leaves out users of whom the log, up to the log time until (0:
// its end), and the snapshot with which it begins know nothing.
func logStories(ctx context.Context, conn *broker.Conn, set *pipeline.Set, keys []string, q explain.Query, until int64, std stdio) ([]*explain.Story, error) {
	recorders, known := map[int]*explain.Recorder{}, map[string]bool{}
	live := newProgress(std.err)
	err := audit.Replay(ctx, conn, audit.ReplayOptions{
		Set: set, Partitions: partitionsOf(keys, conn.Partitions), Users: keys, Until: until, Workers: 1, // one, since the functions share maps
		Log: slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Begin: func(p int, f *pipeline.Fold) error {
			recorders[p] = explain.New(keys...)
			if q.Evaluated {
				recorders[p].Keep(reportKept)
				recorders[p].Triggers()
			} else if q.Campaign != "" {
				recorders[p].Triggers(campaign.NameOf(q.Campaign))
			}
			recorders[p].Watch(f)
			return nil
		},
		End: func(p int, f *pipeline.Fold, _ audit.Replayed) error {
			for _, k := range keys {
				u, err := f.User(k)
				if err != nil {
					return err
				}
				if known[k] = known[k] || u.Known; u.Owner != "" {
					recorders[p].Owned(k, u.Owner)
				}
			}
			return nil
		},
		Progress: func(p int, seq, end uint64) { live.show("partition %d: message %d of %d", p, seq, end) },
	})
	live.done()
	if err != nil {
		return nil, err
	}
	var stories []*explain.Story
	for _, k := range keys {
		if known[k] {
			q.User = k
			stories = append(stories, recorders[event.Partition(k, conn.Partitions)].Story(q))
		}
	}
	return stories, nil
}

// partitionsOf are the partitions whose logs have the events of entities, in order.
func partitionsOf(keys []string, of int) (all []int) {
	for _, k := range keys {
		all = append(all, event.Partition(k, of))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// newestUsers are the keys of some users of the newest events of a log.
func newestUsers(ctx context.Context, conn *broker.Conn, most int) (keys []string, err error) {
	var dec event.Decoder
	err = audit.Sample(ctx, conn, 50*most, func(raw []byte) error {
		ev, err := dec.Decode(raw)
		if err == nil && ev.OfUser() && len(keys) < most && !slices.Contains(keys, ev.Key) {
			keys = append(keys, strings.Clone(ev.Key))
		}
		return nil
	})
	return keys, err
}
