package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"offerstream/config"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/scenario"
	"offerstream/pipeline/value"
)

// mostRecorded is how many events of a user become lines of a scenario.
const mostRecorded = 200

// testFrom is `offerctl test --from-user`: it writes a scenario out of a user's log.
type testFrom struct {
	user, events, campaigns, at, out string
	anonymous                        bool
	nats                             natsFlags
}

func (f *testFrom) flags(fs *flags) {
	fs.StringVar(&f.user, "from-user", "", "run nothing: write a scenario out of the log of user `U`, with ids and personal traits replaced; needs --campaigns, and --events or --nats")
	fs.StringVar(&f.events, "events", "", "the `FILE` of events to take the user's from, one JSON object per line, may be gzipped")
	fs.StringVar(&f.campaigns, "campaigns", "", "`PATH` of the campaign file or directory that the scenario tests")
	fs.BoolVar(&f.anonymous, "anonymous", false, "U is an anonymousId")
	fs.StringVar(&f.at, "at", "", "the `TIME` of the log, such as 2026-03-01T12:00:00Z, at which the scenario ends")
	fs.StringVar(&f.out, "out", "", "the `FILE` *.test.yaml for the scenario, which must not exist; otherwise it goes to standard output, to be saved beside the campaigns")
	f.nats = fs.nats()
}

// alone is one of its flags that was given although it is of use only with
// --from-user; "" if there is none.
func (f *testFrom) alone(fs *flags) (name string) {
	fs.Visit(func(fl *flag.Flag) {
		switch fl.Name {
		case "events", "campaigns", "anonymous", "at", "out", "nats", "creds", "prefix":
			name = fl.Name
		}
	})
	return name
}

// run writes the scenario.
func (f *testFrom) run(ctx context.Context, fs *flags, std stdio) error {
	key := event.UserKey(f.user, f.anonymous)
	end, err := f.check(fs)
	if err != nil {
		return err
	}
	def, err := loadCampaigns(f.campaigns)
	if err != nil {
		return err
	}
	set, err := compiled(def, campaign.ClockEvent)
	if err != nil {
		return err
	}
	rec, err := scenario.NewRecording(set, key, mostRecorded)
	if err != nil {
		return err
	}
	log, done, err := f.log(ctx, key, def, std)
	if err != nil {
		return err
	}
	defer done()
	if err := record(rec, log, end); err != nil {
		return err
	}
	if rec.Events == 0 {
		return fmt.Errorf("the log has no event of %s%s: check the id%s", f.user, map[bool]string{true: " up to " + f.at}[f.at != ""],
			map[bool]string{false: ", or say --anonymous if it is an anonymousId"}[f.anonymous])
	}
	return f.write(rec, std)
}

// check checks the command line.
func (f *testFrom) check(fs *flags) (end int64, err error) {
	given := map[string]bool{}
	fs.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	live := given["nats"] || os.Getenv("OFFERSTREAM_NATS") != ""
	switch {
	case f.campaigns == "":
		return 0, usagef("--from-user needs --campaigns: the files that the scenario tests")
	case f.events == "" && !live || f.events != "" && given["nats"]:
		return 0, usagef("--from-user needs --events or --nats: where the user's events are")
	case f.events == "-":
		return 0, usagef("--from-user reads the events twice: name a file in --events")
	}
	if err := event.CheckUser(f.user); err != nil {
		return 0, usagef("--from-user: %v", err)
	}
	if f.out != "" && !config.IsScenarioFile(f.out) {
		return 0, usagef("--out %s: the name of a file of scenarios ends with .test.yaml", f.out)
	}
	if f.at == "" {
		return math.MaxInt64, nil
	}
	if end, err = value.ParseTime(f.at); err != nil {
		return 0, usagef("--at: %v", err)
	}
	return end, nil
}

// log opens the log that the flags name.
func (f *testFrom) log(ctx context.Context, key string, def *campaign.Definition, std stdio) (userLog, func(), error) {
	if f.events != "" {
		return fileLog(ctx, f.events, std), func() {}, nil
	}
	conn, err := f.nats.connect(ctx, std)
	if err != nil {
		return nil, nil, err
	}
	if err := tellOtherSet(ctx, conn, def, std); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return liveLog(ctx, conn, key, std), conn.Close, nil
}

// tellOtherSet warns if the files are not the live set.
func tellOtherSet(ctx context.Context, conn *broker.Conn, def *campaign.Definition, std stdio) error {
	live, _, err := conn.Live(ctx)
	if err != nil {
		return err
	}
	timed := *def
	timed.Clock = campaign.ClockEvent
	if live.Set != def.Hash() && live.Set != timed.Hash() {
		fmt.Fprintln(std.err, "warning: the campaigns are not the live set: what is expected is what they would do, not what happened")
	}
	return nil
}

// record shows the log to the recording.
func record(rec *scenario.Recording, log userLog, end int64) error {
	last, err := log(end, rec.Event)
	if err != nil {
		return err
	}
	facts, err := rec.End(last)
	if err != nil || !facts {
		return err
	}
	_, err = log(end, func(ev *event.Event, log, own int64) error { rec.Fact(ev, log, own); return nil })
	return err
}

// write writes the scenario, to --out or to standard output.
func (f *testFrom) write(rec *scenario.Recording, std stdio) error {
	name, campaigns := f.out, "."
	if name == "" {
		dir := f.campaigns
		if st, err := os.Stat(dir); err == nil && !st.IsDir() {
			dir, campaigns = filepath.Dir(dir), filepath.Base(dir)
		}
		name = filepath.Join(dir, "from-user.test.yaml")
	} else {
		from, err := filepath.Abs(filepath.Dir(name))
		if err != nil {
			return err
		}
		to, err := filepath.Abs(f.campaigns)
		if err == nil {
			to, err = filepath.Rel(from, to)
		}
		if err != nil {
			return fmt.Errorf("--campaigns as seen from --out: %w", err)
		}
		campaigns = filepath.ToSlash(to)
	}
	text, same, err := new(config.Scenarios).Record(name, campaigns, rec)
	if err != nil {
		return err
	}
	if !same {
		fmt.Fprintln(std.err, "warning: the scenario's offers are not those of the log; the scenario tells how they differ")
	}
	if f.out == "" {
		_, err = std.out.Write(text)
		return err
	}
	to, err := os.OpenFile(f.out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = to.Write(text)
	if err = errors.Join(err, to.Close()); err != nil {
		os.Remove(f.out)
	} else {
		fmt.Fprintf(std.out, "wrote %s: a scenario of %s of the user, which passes as it is\n\nNext:\n  offerctl test %s\n", f.out, count(rec.Events, "event"), f.out)
	}
	return err
}
