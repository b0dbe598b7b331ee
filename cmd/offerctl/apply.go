package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/config"
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

// apply is `offerctl apply`.
func apply(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "apply PATH... [--yes] [--nats URL]", `
Checks a campaign set, shows what changes compared with the live set, asks, and
makes the new set live. It takes effect in each partition at the control message
that the partition's owner appends to its log; apply waits for these messages.
A feature whose definition changed starts empty. If what triggers or delays a
campaign changed, its pending evaluations are cancelled.

If facts have a table (file), its rows are then appended to every partition's log,
each time that apply runs, also for a set that is live already. A row that is no
longer in the table stays known until max_age.`,
		"offerctl apply campaigns --nats nats://127.0.0.1:4222")
	n := fs.nats()
	yes := fs.Bool("yes", false, "do not ask")
	clock := fs.String("clock", "", "overrides the set's clock: broker, or event for replaying history")
	wait := fs.Duration("wait", 30*time.Second, "how long to wait until the set is in force in all partitions; 0: do not wait")
	paths, err := fs.parse(args)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return usagef("no path: name a campaign file or a directory of them")
	}
	def, err := loadSet(*clock, paths...)
	if err != nil {
		return err
	}
	if *wait == 0 && tableRows(def) > 0 {
		return usagef("--wait 0 is not possible, because facts have tables, which are loaded when the set is in force in all partitions")
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	defer conn.Close()
	live, rev, err := conn.Live(ctx)
	if err != nil {
		return err
	}
	hash := live.Set
	same, question := hash == def.Hash(), "Make this live?"
	if same {
		question = "Load the tables?"
		fmt.Fprintf(std.out, "set %s is live already\n", hash)
	} else if err := showChanges(ctx, std.out, conn, hash, def); err != nil {
		return err
	}
	for _, f := range def.Facts {
		if len(f.Rows) > 0 {
			fmt.Fprintf(std.out, "load fact %s: %s\n", f.Name, count(len(f.Rows), "row"))
		}
	}
	if !*yes && (!same || tableRows(def) > 0) {
		fmt.Fprintf(std.out, "%s [y/N] ", question)
		if !yesFrom(std.in) {
			fmt.Fprintln(std.out, "nothing changed")
			return errSilent
		}
	}
	if !same {
		if hash, err = conn.PutSet(ctx, def); err == nil {
			err = conn.MakeLive(ctx, hash, rev)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "set %s is live\n", hash)
	}
	return applyTables(ctx, std, conn, def, *wait)
}

// showChanges prints the changes from the live set, if there is one, to def.
func showChanges(ctx context.Context, out io.Writer, conn *broker.Conn, live string, def *campaign.Definition) error {
	var old *campaign.Definition
	if live != "" {
		var err error
		if old, err = conn.Set(ctx, live); err != nil && !errors.Is(err, broker.ErrNoSet) {
			return err
		}
	}
	for _, line := range config.Describe(old, def) {
		fmt.Fprintln(out, line)
	}
	return nil
}

// yesFrom reads an answer and reports whether it is yes.
func yesFrom(in io.Reader) bool {
	answer, _ := bufio.NewReader(in).ReadString('\n')
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

// awaitSet waits until each partition's log has the control message.
func awaitSet(ctx context.Context, w io.Writer, conn *broker.Conn, hash string, most time.Duration) error {
	if most == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	have := 0
	for p := 0; p < conn.Partitions; {
		got, err := controlled(ctx, conn, p)
		if err == nil && got == hash {
			p++
			have = p
			continue
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the set is live, but after %[3]s in force only in %[1]d of %[2]d partitions: check that a worker runs for each", have, conn.Partitions, most)
		}
	}
	fmt.Fprintf(w, "in force in all %d partitions\n", conn.Partitions)
	return nil
}

// controlled returns the set that a partition's last control message names.
func controlled(ctx context.Context, conn *broker.Conn, p int) (string, error) {
	st, err := conn.JS.Stream(ctx, conn.Names.EventsStream(p))
	if err != nil {
		return "", err
	}
	m, err := st.GetLastMsgForSubject(ctx, conn.Names.EventsSubject(p, "control"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return pipeline.ControlSet(m.Data), nil
}
