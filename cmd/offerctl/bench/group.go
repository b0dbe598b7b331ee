package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
)

// A groupReport has the delays in a group of two workers when one of them leaves,
// joins or is killed. Times are in milliseconds, by the broker's clock.
type groupReport struct {
	Users        int     `json:"users"`            // of the partition
	Rate         float64 `json:"offers_per_s"`     // that the events should cause
	Calm         float64 `json:"calm_ms"`          // the longest time between two offers while nothing happened
	HandOvers    int     `json:"hand_overs"`       // planned
	HandOverP50  float64 `json:"hand_over_p50"`    // the longest time between two offers around a hand-over
	HandOverP99  float64 `json:"hand_over_p99"`    //
	HandOverMax  float64 `json:"hand_over_max"`    //
	Restart      float64 `json:"restart_ms"`       // from the start after a kill -9 to the first offer; the median
	RestartMax   float64 `json:"restart_max"`      //
	TakeOver     float64 `json:"take_over_ms"`     // between two offers when the owner is killed and does not return; the median
	TakeOverMax  float64 `json:"take_over_max"`    //
	Standby      float64 `json:"standby_ms"`       // the same with a standby
	StandbyMax   float64 `json:"standby_max"`      //
	P99          float64 `json:"p99_ms"`           // from when an event was scheduled until its offer was stored, without snapshots
	SnapshotP99  float64 `json:"snapshot_p99"`     // the same while snapshots are made continuously
	Longest      float64 `json:"longest_ms"`       // the longest, without snapshots
	SnapshotLong float64 `json:"snapshot_longest"` // the longest, with snapshots
	Snapshots    int     `json:"snapshots"`        // number of snapshots made in that time

	rebuildReport
}

// group is `bench --group`: it stops, kills and starts the workers of a group
// under load.
func (b *Run) group(ctx context.Context) (*groupReport, error) {
	r := &groupReport{Users: b.Users, Rate: float64(time.Second / groupEvery)}
	if err := b.rebuild(ctx, &r.rebuildReport); err != nil {
		return nil, err
	}
	const prefix = "group"
	conn, err := part{URL: b.url, Prefix: prefix, Partitions: 1}.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	def, err := shipped()
	if err != nil {
		return nil, err
	}
	if err := b.prepare(ctx, prefix, def); err != nil {
		return nil, err
	}
	b.say("group: %d users", b.Users)
	gen := newGenerator(1, b.Users)
	gen.each = 2
	if _, err := b.send(ctx, prefix, gen, 2*b.Users); err != nil {
		return nil, err
	}
	g := &group{run: b, conn: conn, prefix: prefix}
	defer g.end()
	for i := range g.workers {
		if err := g.start(ctx, i, part{}); err != nil {
			return nil, err
		}
	}
	if g.load, err = startGroupLoad(ctx, conn, b.Users); err != nil {
		return nil, err
	}
	defer g.load.stop()
	for _, step := range []func(context.Context, *groupReport) error{g.handOvers, g.restarts, g.takeOvers, g.snapshots} {
		if err := step(ctx, r); err != nil {
			return nil, err
		}
	}
	return r, g.load.failed()
}

// A group is two workers that share one partition.
type group struct {
	run     *Run
	conn    *broker.Conn
	prefix  string
	load    *groupLoad
	workers [2]groupWorker
}

type groupWorker struct {
	cmd *exec.Cmd // nil if it does not run
	in  io.Closer
	id  string // its id as a member
}

// groupWithin is the longest wait. If something takes longer, the run fails.
const groupWithin = time.Minute

// start starts a worker and returns when it is ready: when it has caught up on
// all its partitions.
func (g *group) start(ctx context.Context, i int, p part) error {
	out, err := g.launch(ctx, i, p)
	if err != nil {
		return err
	}
	if line, err := firstLine(out); err != nil {
		return fmt.Errorf("bench: a worker printed %q: %w", line, err)
	}
	id, err := os.ReadFile(filepath.Join(g.dir(i), "member"))
	g.workers[i].id = strings.TrimSpace(string(id))
	return err
}

func (g *group) launch(ctx context.Context, i int, p part) (io.Reader, error) {
	p.Role, p.URL, p.Prefix, p.Dir = "worker", g.run.url, g.prefix, g.dir(i)
	cmd, in, out, err := p.launch(ctx)
	g.workers[i].cmd, g.workers[i].in = cmd, in
	return out, err
}

func (g *group) dir(i int) string { return filepath.Join(g.run.dir, fmt.Sprint("group-", i)) }

// signal sends a worker a signal, and returns when the worker has ended.
func (g *group) signal(i int, how os.Signal) error {
	w := &g.workers[i]
	if w.cmd == nil {
		return nil
	}
	defer w.in.Close()
	if err := w.cmd.Process.Signal(how); err != nil {
		return err
	}
	err := w.cmd.Wait()
	w.cmd = nil
	if how == os.Kill {
		return nil
	}
	return err
}

func (g *group) end() {
	for i := range g.workers {
		g.signal(i, os.Kill)
	}
}

// owner waits until the partition has exactly one owner and that owner answers.
// It returns the owner's index.
func (g *group) owner(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, groupWithin)
	defer cancel()
	for {
		o, err := audit.Look(ctx, g.conn, time.Second)
		if err != nil {
			return 0, err
		}
		if owners := o.Partitions[0].Owners; len(owners) == 1 && o.Partitions[0].Answers {
			if i := slices.IndexFunc(g.workers[:], func(w groupWorker) bool { return w.cmd != nil && w.id == owners[0] }); i >= 0 {
				return i, nil
			}
		}
		if err := pauseFor(ctx, 20*time.Millisecond); err != nil {
			return 0, fmt.Errorf("bench: no worker has owned the partition for %s: %w", groupWithin, err)
		}
	}
}

// settled waits until offers arrive again after a change.
func (g *group) settled(ctx context.Context) error {
	if _, err := g.load.after(ctx, time.Now()); err != nil {
		return err
	}
	return pauseFor(ctx, 300*time.Millisecond)
}

// handOvers stops the owner and starts it again. It then takes the partition
// back, because the assignment prefers it.
func (g *group) handOvers(ctx context.Context, r *groupReport) error {
	if err := g.settled(ctx); err != nil {
		return err
	}
	from := time.Now()
	if err := pauseFor(ctx, g.run.groupTurn/2); err != nil {
		return err
	}
	r.Calm = millis(g.load.gap(from, time.Now()))
	var gaps []time.Duration
	for n := range groupHandOvers * g.run.Rounds {
		g.run.say("group: hand-overs %d and %d", 2*n+1, 2*n+2)
		i, err := g.owner(ctx)
		if err != nil {
			return err
		}
		for _, move := range []func() error{
			func() error { return g.signal(i, syscall.SIGTERM) },
			func() error { return g.comeBack(ctx, i) },
		} {
			from := time.Now()
			if err := move(); err != nil {
				return err
			}
			if err := g.settled(ctx); err != nil {
				return err
			}
			gaps = append(gaps, g.load.gap(from, time.Now()))
		}
	}
	r.HandOvers, r.HandOverMax = len(gaps), millis(slices.Max(gaps))
	r.HandOverP50, r.HandOverP99 = millis(quantile(gaps, .5)), millis(quantile(gaps, .99))
	return nil
}

// comeBack starts a worker, and waits until it owns the partition.
func (g *group) comeBack(ctx context.Context, i int) error {
	if err := g.start(ctx, i, part{}); err != nil {
		return err
	}
	for {
		if now, err := g.owner(ctx); err != nil || now == i {
			return err
		}
	}
}

// groupHandOvers is how often a worker is stopped and started in a round.
const groupHandOvers = 7

// restarts kills the owner and starts it again at once.
func (g *group) restarts(ctx context.Context, r *groupReport) error {
	var took []time.Duration
	for n := range 2 * g.run.Rounds {
		g.run.say("group: kill -9 and start again, %d", n+1)
		i, err := g.owner(ctx)
		if err != nil {
			return err
		}
		if err := g.signal(i, os.Kill); err != nil {
			return err
		}
		start := time.Now()
		if err := g.start(ctx, i, part{}); err != nil {
			return err
		}
		first, err := g.load.after(ctx, start)
		if err != nil {
			return err
		}
		took = append(took, first.Sub(start))
		if err := g.settled(ctx); err != nil {
			return err
		}
	}
	r.Restart, r.RestartMax = millis(quantile(took, .5)), millis(slices.Max(took))
	return nil
}

// takeOvers kills the owner, without a standby and with one.
func (g *group) takeOvers(ctx context.Context, r *groupReport) error {
	for standbys := range 2 {
		var took []time.Duration
		p := part{Standbys: standbys}
		for i := range g.workers { // all workers need the same setting
			if err := errors.Join(g.signal(i, syscall.SIGTERM), g.start(ctx, i, p)); err != nil {
				return err
			}
		}
		for n := range g.run.Rounds {
			g.run.say("group: kill -9 with %d standbys, %d", standbys, n+1)
			i, err := g.owner(ctx)
			if err != nil {
				return err
			}
			if err := g.settled(ctx); err != nil {
				return err
			}
			from := time.Now()
			if err := g.signal(i, os.Kill); err != nil {
				return err
			}
			if _, err := g.owner(ctx); err != nil {
				return err
			}
			if err := g.settled(ctx); err != nil {
				return err
			}
			took = append(took, g.load.gap(from, time.Now()))
			if err := g.start(ctx, i, p); err != nil {
				return err
			}
		}
		if standbys == 0 {
			r.TakeOver, r.TakeOverMax = millis(quantile(took, .5)), millis(slices.Max(took))
		} else {
			r.Standby, r.StandbyMax = millis(quantile(took, .5)), millis(slices.Max(took))
		}
	}
	return nil
}

// snapshots measures one worker in turns: without snapshots, and with continuous
// snapshots.
func (g *group) snapshots(ctx context.Context, r *groupReport) error {
	var p99s, longests [2][]float64 // without, with
	if err := g.signal(1, syscall.SIGTERM); err != nil {
		return err
	}
	for n := range 2 * g.run.Rounds {
		p := part{Snapshot: time.Hour}
		if n%2 == 1 {
			p.Snapshot = time.Second
		}
		g.run.say("group: a snapshot every %s", p.Snapshot)
		if err := errors.Join(g.signal(0, syscall.SIGTERM), g.start(ctx, 0, p)); err != nil {
			return err
		}
		if err := g.settled(ctx); err != nil {
			return err
		}
		from := time.Now()
		newest := from
		for time.Since(from) < g.run.groupTurn {
			all, err := g.conn.Snapshots(ctx, 0)
			if err != nil {
				return err
			}
			if len(all) > 0 && all[0].Time.After(newest) {
				newest = all[0].Time
				r.Snapshots++
			}
			if err := pauseFor(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
		lat := g.load.latencies(from, time.Now())
		p99s[n%2] = append(p99s[n%2], millis(quantile(lat, .99)))
		longests[n%2] = append(longests[n%2], millis(quantile(lat, 1)))
	}
	r.P99, r.SnapshotP99 = median(p99s[0]), median(p99s[1])
	r.Longest, r.SnapshotLong = median(longests[0]), median(longests[1])
	return nil
}

const defaultGroupTurn = 6 * time.Second

func (r *groupReport) Print(w io.Writer) {
	fmt.Fprintf(w, "two workers, a partition of %d users, events for %.0f offers per second\n\n", r.Users, r.Rate)
	fmt.Fprintf(w, "between two offers, in normal operation       %8.1f ms at most\n", r.Calm)
	fmt.Fprintf(w, "planned hand-over, %3d                        %8.1f ms p50, %.1f p99, %.1f at most\n", r.HandOvers, r.HandOverP50, r.HandOverP99, r.HandOverMax)
	fmt.Fprintf(w, "kill -9, restart, to the first offer          %8.0f ms, %.0f at most\n", r.Restart, r.RestartMax)
	fmt.Fprintf(w, "kill -9, the other worker takes over          %8.0f ms, %.0f at most\n", r.TakeOver, r.TakeOverMax)
	fmt.Fprintf(w, "the same with a standby                       %8.0f ms, %.0f at most\n", r.Standby, r.StandbyMax)
	fmt.Fprintf(w, "event to stored offer, no snapshots           %8.1f ms p99, %.1f at most\n", r.P99, r.Longest)
	fmt.Fprintf(w, "the same, %3d snapshots, continuously         %8.1f ms p99, %.1f at most\n\n", r.Snapshots, r.SnapshotP99, r.SnapshotLong)
	r.rebuildReport.Print(w)
}
