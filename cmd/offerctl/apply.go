package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	osuser "os/user"
	"strings"
	"time"
	"unicode"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// natsFlags are the flags with which a command reaches a deployment.
type natsFlags struct{ url, creds, prefix *string }

func (f *flags) nats() natsFlags {
	return natsFlags{
		f.String("nats", envOr("OFFERSTREAM_NATS", "nats://127.0.0.1:4222"), "NATS `URL`; OFFERSTREAM_NATS in the environment"),
		f.String("creds", os.Getenv("OFFERSTREAM_CREDS"), "a NATS credentials `FILE`"),
		f.String("prefix", os.Getenv("OFFERSTREAM_PREFIX"), "the deployment's `PREFIX`"),
	}
}

func envOr(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}

// connect connects, or gives up after 10 seconds, because a person is waiting.
func (n natsFlags) connect(ctx context.Context, std stdio) (*broker.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return broker.Connect(ctx, broker.Options{URL: *n.url, Creds: *n.creds, Prefix: *n.prefix, Client: "offerctl", Join: true, Log: log})
}

// applyFlags are what apply is told.
type applyFlags struct {
	by, clock, overdue                     string
	yes, dry, json, force                  bool
	backfill, detach, goOn, abort, waitSet bool // waitSet: --wait was given
	rate                                   float64
	wait                                   time.Duration
}

// apply is `offerctl apply`.
func apply(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "apply PATH... [--backfill] [--dry-run | --yes] [--nats URL]", `
Checks a campaign set, shows what changes compared with the live set, asks, and
makes the new set live. It takes effect in each partition at the control message
that the partition's owner appends to its log; apply waits for these messages.
A feature whose definition changed starts empty. If what triggers or delays a
campaign changed, its pending evaluations are cancelled; how many is asked of the
workers. The files are stored as they are written, with their comments.

Without --force it refuses a set with conditions that hold of a feature because it
is young, and one under which pending evaluations would lack what they read.

With --backfill the workers first fold their logs again under the new set, while the
live one goes on. So what is new, what has changed, and what is fed for less than the
log reaches back, starts full, and users are found who have been away since before
it. It takes minutes to hours; apply shows how far it is. Ctrl-C leaves it running.
When all partitions have caught up, it says how many offers are overdue, and asks what
becomes of them. Then the set becomes live in each partition, at one message.

  offerctl apply PATH --backfill           # fold again, ask, make the set live
  offerctl apply PATH --backfill --detach  # begin, and return
  offerctl status                          # how far it is
  offerctl apply --go --overdue 6h         # make the set live, in each partition as soon as it has caught up
  offerctl apply --abort                   # give it up: nothing changes

If facts have a table (file), its rows are then appended to every partition's log,
each time that apply runs, also for a set that is live already. A row that is no
longer in the table stays known until max_age.`,
		"offerctl apply campaigns --dry-run\nofferctl apply campaigns --nats nats://127.0.0.1:4222")
	n := fs.nats()
	var o applyFlags
	fs.BoolVar(&o.yes, "yes", false, "do not ask")
	fs.BoolVar(&o.dry, "dry-run", false, "show what changes, and change nothing")
	fs.BoolVar(&o.json, "json", false, "print what changes as one JSON object on standard output, and nothing else there; without --yes it changes nothing")
	fs.StringVar(&o.by, "by", userName(), "the `NAME` of who applies, for the log")
	fs.BoolVar(&o.force, "force", false, "apply in spite of what it warns of with !")
	fs.BoolVar(&o.backfill, "backfill", false, "fold the log again under the new set, so that it starts full")
	fs.StringVar(&o.overdue, "overdue", "", "what becomes of offers that are overdue when a set goes live by backfill: drop, now, or a `DURATION` over which they are spread, as 6h")
	fs.Float64Var(&o.rate, "rate", 0.5, "the share, `R`, of a core that the backfill of a partition may take, up to 1")
	fs.BoolVar(&o.detach, "detach", false, "return when the backfill has begun; apply --go makes the set live")
	fs.BoolVar(&o.goOn, "go", false, "make the set live whose backfill runs")
	fs.BoolVar(&o.abort, "abort", false, "give up the backfill that runs")
	fs.StringVar(&o.clock, "clock", "", "overrides the set's clock: broker, or event for replaying history")
	fs.DurationVar(&o.wait, "wait", 30*time.Second, "how long to wait until the set is in force in one more partition; 0: do not wait")
	paths, err := fs.parse(args)
	if err != nil {
		return err
	}
	rateSet := false
	fs.Visit(func(f *flag.Flag) { o.waitSet, rateSet = o.waitSet || f.Name == "wait", rateSet || f.Name == "rate" })
	if err := o.check(len(paths), rateSet); err != nil {
		return err
	}
	a := &applying{applyFlags: o, std: std, out: onDisplay(std.out), in: bufio.NewReader(std.in)}
	if o.json {
		a.out = onDisplay(std.err)
	}
	if len(paths) > 0 {
		if err := a.load(paths); err != nil {
			return err
		}
	}
	if a.conn, err = n.connect(ctx, std); err != nil {
		return err
	}
	defer a.conn.Close()
	if a.live, a.rev, err = a.conn.Live(ctx); err != nil {
		return err
	}
	switch {
	case o.abort:
		return a.giveUp(ctx)
	case o.goOn:
		return a.goAhead(ctx)
	}
	return a.apply(ctx)
}

// mostBy bounds the name of who applies: it is in every partition's log.
const mostBy = 200

// check checks the flags.
func (o *applyFlags) check(paths int, rateSet bool) error {
	switch {
	case o.goOn && o.abort:
		return usagef("--go and --abort contradict each other")
	case (o.goOn || o.abort) && (paths > 0 || o.backfill || o.detach || o.dry || o.json):
		return usagef("--go and --abort are about the backfill that runs: no path, --backfill, --detach, --dry-run or --json goes with them")
	case !o.goOn && !o.abort && paths == 0:
		return usagef("no path: name a campaign file or a directory of them")
	case (o.detach || rateSet) && !o.backfill:
		return usagef("--detach and --rate need --backfill")
	case o.overdue != "" && !o.backfill && !o.goOn:
		return usagef("--overdue needs --backfill or --go: without a backfill nothing is overdue")
	case o.rate <= 0 || o.rate > 1:
		return usagef("--rate %v is not a share of a core: give one above 0, up to 1", o.rate)
	case o.abort && o.wait == 0:
		return usagef("--wait 0 is not possible with --abort, which is done only when it is in every partition's log")
	case o.wait < 0:
		return usagef("--wait %s is negative", o.wait)
	case len(o.by) > mostBy:
		return usagef("--by takes at most %d bytes: it is in every partition's log", mostBy)
	case !oneLine(o.by):
		return usagef("--by has characters that are not printed, such as the end of a line: give a name")
	}
	if o.overdue != "" {
		if _, err := pipeline.ParseOverdue(o.overdue); err != nil {
			return usagef("--overdue: %v", err)
		}
	}
	o.dry = o.dry || o.json && !o.yes
	return nil
}

// oneLine reports whether a text can stand in a line of a table.
func oneLine(text string) bool { return !strings.ContainsFunc(text, unicode.IsControl) }

// userName is the name of the operating system's user; "" if it has none.
func userName() string {
	if u, err := osuser.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}

// An applying is one run of apply.
type applying struct {
	applyFlags
	std stdio
	out io.Writer     // what people read
	in  *bufio.Reader // their answers

	def   *campaign.Definition
	set   *pipeline.Set
	files []broker.SetFile
	paths []string

	conn     *broker.Conn
	live     broker.Live
	rev      uint64 // of live in the bucket
	reported uint64 // the highest revision of a record that a worker says it has applied
}

// load reads the set.
func (a *applying) load(paths []string) (err error) {
	a.paths = paths
	if a.def, err = loadSet(a.clock, paths...); err != nil {
		return err
	}
	if a.wait == 0 && tableRows(a.def) > 0 {
		return usagef("--wait 0 is not possible, because facts have tables, which are loaded when the set is in force in all partitions")
	}
	if a.set, err = compiled(a.def, a.def.Clock); err == nil {
		a.files, err = writtenFiles(paths)
	}
	return err
}

// apply shows what changes, asks, and does it.
func (a *applying) apply(ctx context.Context) error {
	hash := a.def.Hash()
	same := a.live.Set == hash
	if a.live.Asked() == hash {
		return a.applyAsked(ctx)
	}
	p := &plan{}
	if same {
		fmt.Fprintf(a.out, "set %s is live already\n", hash)
	}
	if !same || a.backfill || a.json {
		var err error
		if p, err = a.plan(ctx); err != nil {
			return err
		}
	} else if err := a.sayRunning(ctx); err != nil {
		return err
	}
	p.show(a)
	for _, f := range a.def.Facts {
		if len(f.Rows) > 0 {
			fmt.Fprintf(a.out, "load fact %s: %s\n", f.Name, count(len(f.Rows), "row"))
		}
	}
	if a.json {
		if err := json.NewEncoder(a.std.out).Encode(p); err != nil {
			return err
		}
	}
	backfill := a.backfill && !p.emptyBackfill()
	if a.backfill && !backfill {
		fmt.Fprintln(a.out, "nothing comes from the log: no backfill is needed")
	}
	refused := a.refusals(ctx, p, same, backfill)
	if a.dry {
		for _, err := range refused {
			fmt.Fprintf(a.out, "apply would be refused: %v\n", err)
		}
		fmt.Fprintln(a.out, "this was a dry run: nothing changed")
		return nil
	}
	if len(refused) > 0 {
		return errors.Join(refused...)
	}
	question := "Make this live?"
	switch {
	case backfill && a.overdue != "" && !a.detach:
		question = "Fold the log again under this set, and make it live then?"
	case backfill:
		question = "Fold the log again under this set?"
	case same:
		question = "Load the tables?"
	}
	if (!same || backfill || tableRows(a.def) > 0) && !a.confirmed(question) {
		fmt.Fprintln(a.out, "nothing changed")
		return errSilent
	}
	if err := a.store(ctx); err != nil {
		return err
	}
	switch {
	case backfill:
		return a.ask(ctx, p)
	case !same:
		if err := a.put(ctx, broker.Live{Set: hash, Previous: a.previous(ctx, p.Total)}); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "set %s is live\n", hash)
	}
	return a.tables(ctx)
}

// tables waits until the set is in force in all partitions, and loads its tables.
func (a *applying) tables(ctx context.Context) error {
	return applyTables(ctx, stdio{a.std.in, a.out, a.std.err}, a.conn, a.def, a.wait)
}

// confirmed asks, unless --yes was given.
func (a *applying) confirmed(question string) bool {
	if a.yes {
		return true
	}
	fmt.Fprintf(a.out, "%s [y/N] ", question)
	return yesFrom(a.in)
}

// yesFrom reads an answer and reports whether it is yes.
func yesFrom(in io.Reader) bool {
	answer, _ := bufio.NewReader(in).ReadString('\n') // which of a bufio.Reader is that one
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y")
}

// loadSet reads a campaign set and overrides its clock.
func loadSet(clock string, paths ...string) (*campaign.Definition, error) {
	def, err := loadCampaigns(paths...)
	if err != nil {
		return nil, err
	}
	return clocked(def, clock)
}

// clocked overrides the clock of a set, and checks that its tables go with it.
func clocked(def *campaign.Definition, clock string) (*campaign.Definition, error) {
	switch clock {
	case "":
	case campaign.ClockBroker, campaign.ClockEvent:
		def.Clock = clock
	default:
		return nil, usagef("--clock %q is neither %s nor %s", clock, campaign.ClockBroker, campaign.ClockEvent)
	}
	return def, noTableTimes(def)
}
