package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"offerstream/config"
	"offerstream/deploy"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// A Run is one run, as the command's flags describe it.
type Run struct {
	Events, Users, Campaigns, Rounds int
	LookupUsers                      int
	Pack                             int  // if not 0: measure only the worker's rate, with this number of events per message
	Rows                             bool // the campaigns about single products are rows of one
	WorkerOnly, GatewayOnly          bool // at most one of these eight
	BacktestOnly, GroupOnly          bool
	ItemsOnly, PageOnly, BurstOnly   bool
	IdleOnly                         bool
	Partitions, Watchers             int                              // with ItemsOnly
	Say                              func(format string, args ...any) // shows what is being done; may be nil

	search    liveSearch
	turns     gatewayTurns
	page      pageLoad
	groupTurn time.Duration // length of a turn with snapshots, and of one without
	idleTurn  time.Duration // length of a turn with events, and of one without
	program   string        // the offerctl that --idle starts; "": this program

	dir  string
	url  string
	some int // number of events in the packs of one

	clock int64 // where the clocks of prepare's worker and of send's gateway stand; 0: they go
}

// New returns a run of the usual length. The caller sets its sizes.
func New() *Run {
	return &Run{search: defaultSearch, turns: defaultTurns, page: defaultPageLoad, groupTurn: defaultGroupTurn, idleTurn: defaultIdleTurn}
}

// A Finding is the result of a run. As JSON it is one object, in which `ratio` is
// the most important number; Print writes it as a table.
type Finding interface{ Print(io.Writer) }

// Measure runs all measurements that the Run asks for.
func (b *Run) Measure(ctx context.Context) (found Finding, err error) {
	if b.dir, err = os.MkdirTemp("", "offerstream-bench-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(b.dir)
	if b.BacktestOnly {
		return b.backtest(ctx)
	}
	if b.BurstOnly {
		return b.burst(ctx)
	}
	if b.IdleOnly {
		return b.idle(ctx)
	}
	var stop func()
	b.url, stop, err = part{Role: "nats", Dir: filepath.Join(b.dir, "nats")}.start(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	if b.GatewayOnly {
		return b.gateway(ctx)
	}
	if b.PageOnly {
		return b.pages(ctx)
	}
	if b.GroupOnly {
		return b.group(ctx)
	}
	if b.ItemsOnly {
		return b.items(ctx)
	}
	return b.all(ctx)
}

// definition returns the campaign set of the run.
func (b *Run) definition() (*campaign.Definition, error) {
	if b.Campaigns > 0 {
		return generated(b.Campaigns, b.Rows), nil
	}
	return shipped()
}

func shipped() (*campaign.Definition, error) { return config.LoadCampaignsFS(deploy.Campaigns()) }

func (b *Run) say(format string, args ...any) {
	if b.Say != nil {
		b.Say(format, args...)
	}
}

// medianOf returns the median of a number of each.
func medianOf[T any](all []T, of func(T) float64) float64 {
	var v []float64
	for _, one := range all {
		v = append(v, of(one))
	}
	return median(v)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// part runs a part on one deployment. A worker begins with the state that
// prepare left: the set is in force, and there are no users and no offers.
func (b *Run) part(ctx context.Context, role, prefix string, round, events int) (r result, err error) {
	p := part{Role: role, URL: b.url, Prefix: prefix, Dir: filepath.Join(b.dir, fmt.Sprintf("state-%s-%d", prefix, round))}
	if role == "work" {
		if err := b.forgetOffers(ctx, prefix); err != nil {
			return r, err
		}
		defer os.RemoveAll(p.Dir)
		if err := os.CopyFS(p.Dir, os.DirFS(b.preparedBy(prefix))); err != nil {
			return r, err
		}
	}
	if r, err = p.result(ctx); err != nil {
		return r, err
	}
	if role == "work" && r.Events != uint64(events) {
		return r, fmt.Errorf("bench: %d events applied of %d", r.Events, events)
	}
	return r, nil
}

// now is the clock of workers and gateways in this process; nil: time.Now.
func (b *Run) now() func() int64 {
	if b.clock == 0 {
		return nil
	}
	return func() int64 { return b.clock }
}

func (b *Run) connect(ctx context.Context, prefix string) (*broker.Conn, error) {
	return part{URL: b.url, Prefix: prefix, Partitions: b.Partitions, Clock: b.clock}.connect(ctx)
}
