package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// status is `offerctl status`.
func status(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "status [--json] [--watch] [--nats URL]", `
Shows the workers of a deployment, which partitions they own and follow, and for
each partition how many messages its owner is behind, the last message that it
has applied, how many offers wait to be stored, log time, the size of the state
and the age of the newest snapshot; and what is paused, and how far a backfill is,
which offerctl apply has begun; and pools of codes of which under a tenth is left.
It asks every worker, and shows which do not answer within 2 seconds. It changes
nothing.

The exit status is 0 if each partition has an owner that answers, none has stopped
or lost its log, each worker renews its lease, and NATS stores what workers and
gateways publish, as far as these know. Else it is 1, and the last lines say why;
with --watch it is always 0.`,
		"offerctl status --nats nats://127.0.0.1:4222\nofferctl status --watch")
	n := fs.nats()
	asJSON := fs.Bool("json", false, "print one JSON object on one line, with --watch one every second, and nothing else")
	watch := fs.Bool("watch", false, "repeat every second, until Ctrl-C")
	if err := fs.none(args); err != nil {
		return err
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	defer func() { conn.Close() }()
	if !*watch {
		o, err := look(ctx, conn, std, *asJSON, false)
		if err == nil && !o.OK() {
			err = errSilent
		}
		return err
	}
	return watchStatus(ctx, n, &conn, std, *asJSON)
}

// watchStatus shows the status every second until ctx is done. If the connection
// is lost, it replaces conn.
func watchStatus(ctx context.Context, n natsFlags, conn **broker.Conn, std stdio, asJSON bool) error {
	for ctx.Err() == nil {
		if (*conn).NC.IsClosed() {
			again, err := n.connect(ctx, std)
			if err != nil {
				return err
			}
			*conn = again
		}
		if _, err := look(ctx, *conn, std, asJSON, terminal(std.out)); err != nil && ctx.Err() == nil {
			fmt.Fprintf(std.err, "offerctl status: %v\n", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}

// look collects the status once and prints it in a single write, so that a
// terminal does not flicker.
func look(ctx context.Context, conn *broker.Conn, std stdio, asJSON, repaint bool) (audit.Overview, error) {
	o, err := audit.Look(ctx, conn, 2*time.Second)
	if err != nil {
		return o, err
	}
	var b bytes.Buffer
	if asJSON {
		err = json.NewEncoder(&b).Encode(struct {
			OK bool `json:"ok"`
			audit.Overview
		}{o.OK(), o})
		if err != nil {
			return o, err
		}
	} else {
		showOverview(&b, o)
		fmt.Fprintln(&b)
	}
	text := b.String()
	if repaint && !asJSON {
		text = "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
	}
	_, err = io.WriteString(std.out, text)
	return o, err
}

// showOverview prints the members, the partitions, why partitions have stopped, and
// why the deployment is not ready.
func showOverview(out io.Writer, o audit.Overview) {
	showMembers(out, o)
	fmt.Fprintln(out)
	showPartitions(out, o)
	showChange(out, o)
	for _, p := range o.Partitions {
		for _, name := range slices.Sorted(maps.Keys(p.Pools)) {
			fmt.Fprintf(out, "\npool %s: %s\n", name, poolText(p.Pools[name]))
		}
	}
	for _, p := range o.Partitions {
		for _, s := range p.Stops {
			fmt.Fprintf(out, "\npartition %d has stopped on %s: %s\n", p.Partition, s.Member, s.Why)
		}
	}
	for _, p := range o.Problems() {
		if len(p.Partitions) > 0 {
			fmt.Fprintf(out, "\nNOT READY: partitions %s: %s", ranges(p.Partitions), p.Why)
		} else {
			fmt.Fprintf(out, "\nNOT READY: %s", p.Why)
		}
	}
}

func showMembers(out io.Writer, o audit.Overview) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "member\theard\towns\tfollows\tcatches up\t")
	for _, m := range o.Members {
		heard := "no lease"
		if !m.Heard.IsZero() {
			heard = age(o.Time, m.Heard)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", m.ID, heard, ranges(m.Owns), ranges(m.Ready), ranges(m.Follows), noteOn(m))
	}
	w.Flush()
	if len(o.Members) == 0 {
		fmt.Fprintln(out, "(none: no worker runs)")
	}
}

// noteOn returns what an operator should know about a member, or "".
func noteOn(m audit.Member) string {
	switch {
	case m.Error != "":
		return m.Error
	case !m.Answers:
		return "does not answer"
	case m.Silent:
		return "does not renew its lease"
	case m.Short:
		return "no room on its disk"
	case m.Ahead > 60:
		return "its clock is ahead of that of NATS by " + seconds(m.Ahead)
	case m.Ahead < -60:
		return "its clock is behind that of NATS by " + seconds(-m.Ahead)
	case m.Leaving:
		return "is leaving"
	}
	return enginesOf(m)
}

func showPartitions(out io.Writer, o audit.Overview) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "partition\towner\tlag\tcursor\twaiting\tlog time\tstate\tsnapshot\t")
	for _, p := range o.Partitions {
		snapshot := "-"
		if p.Snapshot != nil {
			snapshot = age(o.Time, p.Snapshot.Time)
			if p.Snapshot.Kept > 1 {
				snapshot += fmt.Sprintf(" (%d from %s)", p.Snapshot.Kept, age(o.Time, p.Snapshot.Oldest))
			}
		}
		owner, figures := strings.Join(p.Owners, ", "), "-\t-\t-\t-\t-"
		if p.Answers || len(p.Stops) > 0 {
			logTime := "-"
			if !p.LogTime.IsZero() {
				logTime = p.LogTime.Format("2006-01-02 15:04:05")
			}
			figures = fmt.Sprintf("%d\t%d\t%d\t%s\t%s", p.Lag, p.Seq, p.Waiting, logTime, size(p.Bytes))
		}
		note := ""
		switch {
		case len(p.Stops) > 0:
			note = "STOPPED"
		case len(p.Owners) > 0 && !p.Answers:
			note = "its owner does not answer"
		}
		if owner == "" {
			owner = "nobody"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", p.Partition, owner, figures, snapshot, note)
	}
	w.Flush()
}

// ranges writes sorted numbers as ranges, such as 0-2 5.
func ranges(ns []int) string {
	if len(ns) == 0 {
		return "-"
	}
	var all []string
	for i := 0; i < len(ns); {
		j := i
		for j+1 < len(ns) && ns[j+1] == ns[j]+1 {
			j++
		}
		if j == i {
			all = append(all, fmt.Sprint(ns[i]))
		} else {
			all = append(all, fmt.Sprintf("%d-%d", ns[i], ns[j]))
		}
		i = j + 1
	}
	return strings.Join(all, " ")
}

func seconds(s float64) string { return time.Duration(s * 1e9).Round(time.Second).String() }

// age writes how long ago then was.
func age(now, then time.Time) string {
	d := max(now.Sub(then), 0)
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s ago", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s ago", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min ago", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h ago", d.Hours())
	}
	return fmt.Sprintf("%.0f d ago", d.Hours()/24)
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n == 0:
		return "-"
	case n < 1e6:
		return fmt.Sprintf("%.0f KB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
