package main

import (
	"context"
	"errors"
	"flag"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline/broker"
)

// campaignsCommand is `offerctl campaigns`.
func campaignsCommand(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "campaigns list|show|export|pause|resume|rollback|history [ID...] [flags]", `
Shows and changes what is live. Every change goes through the logs, in which each
partition's owner appends it, and waits until it is in all of them.

list shows the campaigns of the live set, what is left of their budgets, which of
them operators or brakes have paused, what a running backfill is about, and pools of
codes of which under a tenth is left.

show ID shows a campaign as it was written.

export gives back the files of the live set, or of another that was live, as they
were written. One file goes to standard output, several into the directory --to.

pause ID... pauses campaigns; CAMPAIGN/ROW is one row of a campaign with for_each.
What is pending stays, and is judged when it is due: the outcome is paused. With
--channel it pauses all advertising on a channel; what is of kind service goes on.

resume ID... ends pauses, those of brakes too: these count anew from then on.

rollback makes the set live again that was live before. Within 24 h of log time it
finds its features as if they had never been gone. What the change has cancelled
stays cancelled. With --backfill the workers first fold their logs again under that
set, as apply --backfill does: so features start full also later, and what was
cancelled comes back. The set that was left can be rolled back to in turn.

history lists the changes that the logs still have, the newest last.`,
		`offerctl campaigns list --nats nats://127.0.0.1:4222
offerctl campaigns pause welcome habit/coffee --why 'wrong price'
offerctl campaigns resume --channel sms
offerctl campaigns export --to campaigns`)
	c := &campaigns{std: std}
	n := fs.nats()
	fs.BoolVar(&c.asJSON, "json", false, "list, show, history: print JSON; history: one object per line")
	fs.StringVar(&c.set, "set", "", "export: the `HASH` of the set, or its beginning; default: the live set")
	fs.StringVar(&c.to, "to", "", "export: the `DIR` for the files")
	fs.BoolVar(&c.force, "force", false, "export: overwrite files; rollback: also where features start empty, or pending evaluations end for want of a field")
	fs.StringVar(&c.why, "why", "", "pause: the reason, a `TEXT` that list shows")
	fs.Func("channel", "pause, resume: all advertising on the channel `NAME`; may be repeated", func(v string) error {
		if v == "" {
			return errors.New("it is empty")
		}
		c.channels = append(c.channels, v)
		return nil
	})
	fs.StringVar(&c.by, "by", userName(), "pause, resume, rollback: the `NAME` of who does it, for the log")
	fs.BoolVar(&c.yes, "yes", false, "rollback: do not ask")
	fs.DurationVar(&c.wait, "wait", 30*time.Second, "pause, resume, rollback: how long to wait until it is in all partitions; 0: do not wait")
	fs.BoolVar(&c.back.backfill, "backfill", false, "rollback: fold the log again under the set, so that it starts full")
	fs.StringVar(&c.back.overdue, "overdue", "", "rollback: as that of apply --backfill: drop, now, or a `DURATION`")
	fs.Float64Var(&c.back.rate, "rate", defaultRate, "rollback: as that of apply --backfill, `R` of a core")
	fs.BoolVar(&c.back.detach, "detach", false, "rollback: return when the backfill has begun; offerctl apply --go makes the set live")
	rest, err := fs.parse(args)
	if err != nil {
		return err
	}
	verb, rest, err := campaignsVerbOf(fs, rest)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return err
	}
	if c.conn, err = n.connect(ctx, std); err != nil {
		return err
	}
	defer c.conn.Close()
	return verb.run(c, ctx, rest)
}

// campaigns is one run of the command.
type campaigns struct {
	std  stdio
	conn *broker.Conn

	asJSON, force, yes bool
	set, to, why, by   string
	channels           []string
	wait               time.Duration
	back               applyFlags // of rollback
}

// defaultRate is the share of a core that a backfill takes.
const defaultRate = 0.5

// A campaignsVerb is a subcommand.
type campaignsVerb struct {
	name  string
	flags string // those that it takes, besides those with which it connects
	most  int    // of its arguments
	run   func(c *campaigns, ctx context.Context, args []string) error
}

var campaignsVerbs = []campaignsVerb{
	{"list", "json", 0, (*campaigns).list},
	{"show", "json", 1, (*campaigns).show},
	{"export", "set to force", 0, (*campaigns).export},
	{"pause", "why channel by wait", mostNamed, (*campaigns).pause},
	{"resume", "channel by wait", mostNamed, (*campaigns).resume},
	{"rollback", "force yes by wait backfill overdue rate detach", 0, (*campaigns).rollback},
	{"history", "json", 0, (*campaigns).history},
}

// mostNamed is how many campaigns and channels can be named at a time: as many as can
// be paused.
const mostNamed = 1000

// campaignsVerbOf finds the subcommand, and refuses what it does not take.
func campaignsVerbOf(fs *flags, args []string) (verb campaignsVerb, rest []string, err error) {
	var names []string
	for _, v := range campaignsVerbs {
		names = append(names, v.name)
		if len(args) > 0 && v.name == args[0] {
			verb, rest = v, args[1:]
		}
	}
	switch {
	case len(args) == 0:
		return verb, nil, usagef("no subcommand: write campaigns and one of %s", strings.Join(names, ", "))
	case verb.run == nil:
		return verb, nil, usagef("there is no subcommand %q: write one of %s", args[0], strings.Join(names, ", "))
	case verb.name == "show" && len(rest) == 0:
		return verb, nil, usagef("no campaign given: name one, as `offerctl campaigns list` does")
	case len(rest) > verb.most:
		return verb, nil, usagef("unexpected argument %q", rest[verb.most])
	}
	fs.Visit(func(f *flag.Flag) {
		if err == nil && !slices.Contains(strings.Fields("nats creds prefix "+verb.flags), f.Name) {
			err = usagef("--%s is not for %s", f.Name, verb.name)
		}
	})
	return verb, rest, err
}

// mostPauseWhy bounds a reason, in bytes.
const mostPauseWhy = 400

// check refuses what cannot be carried out.
func (c *campaigns) check() error {
	switch {
	case len(c.by) > mostBy:
		return usagef("--by takes at most %d bytes: it is in every partition's log", mostBy)
	case len(c.why) > mostPauseWhy:
		return usagef("--why takes at most %d bytes", mostPauseWhy)
	case !oneLine(c.by) || !oneLine(c.why):
		return usagef("--by or --why has characters that are not printed, such as the end of a line")
	case c.wait < 0:
		return usagef("--wait %s is negative", c.wait)
	}
	return nil
}
