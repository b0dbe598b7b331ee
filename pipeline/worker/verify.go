package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// A Verdict says whether the offers stream equals a replay of the log: all
// of Missing, Duplicate, Different and Extra are 0 if it does.
type Verdict struct {
	Applied   uint64   // events in the log
	Offers    int      // that the log gives
	Stored    int      // that are stored
	Missing   int      // given by the log and not stored
	Duplicate int      // stored more than once
	Different int      // stored otherwise than the log gives them
	Extra     int      // stored, and not given by the log
	Trimmed   int      // given by the log, before the first that its chain still has: not looked at
	Examples  []string // of what is wrong, the first few
}

// OK says that the two are equal.
func (v *Verdict) OK() bool { return v.Missing+v.Duplicate+v.Different+v.Extra == 0 }

func (v *Verdict) add(o Verdict) {
	v.Applied += o.Applied
	v.Offers += o.Offers
	v.Stored += o.Stored
	v.Missing += o.Missing
	v.Duplicate += o.Duplicate
	v.Different += o.Different
	v.Extra += o.Extra
	v.Trimmed += o.Trimmed
	for _, e := range o.Examples {
		v.example("%s", e)
	}
}

func (v *Verdict) example(format string, args ...any) {
	if len(v.Examples) < 10 {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// Verify computes every partition's log anew, in memory, and compares what it
// gives with the offers that are stored. The log must be there from its
// beginning, and what waits to be published counts as missing; offers of
// messages that come meanwhile are left out. progress, if not nil, is told
// how many partitions are done.
func Verify(ctx context.Context, conn *broker.Conn, progress func(done int)) (Verdict, error) {
	var all Verdict
	var compiled sets
	for p := range conn.Partitions {
		v, err := verifyPast(ctx, conn, p, compiled.get(ctx, conn))
		if err != nil {
			return all, fmt.Errorf("verify partition %d: %w", p, err)
		}
		all.add(v)
		if progress != nil {
			progress(p + 1)
		}
	}
	return all, nil
}

// verifyPast begins anew at each step that panics, as a worker does.
func verifyPast(ctx context.Context, conn *broker.Conn, p int, sets func(string) (*pipeline.Set, error)) (Verdict, error) {
	var guarded []pipeline.Step
	for {
		v, err := verify(ctx, conn, p, sets, guarded)
		bad, ok := newPoison(err, guarded)
		if !ok {
			return v, err
		}
		guarded = append(guarded, bad.step)
	}
}

// A place is a record's place on a chain.
type place struct {
	chain string
	n     uint64
}

type given struct {
	pos  pipeline.Position
	id   string
	data []byte
	seen bool
}

func verify(ctx context.Context, conn *broker.Conn, p int, sets func(string) (*pipeline.Set, error), guarded []pipeline.Step) (v Verdict, err error) {
	offers, ids := map[place]*given{}, map[string]bool{}
	fold, err := pipeline.NewFold(pipeline.Cursor{}, sets, pipeline.Memory{})
	if err != nil {
		return v, err
	}
	for _, s := range guarded {
		fold.Guard(s)
	}
	err = conn.ScanLog(ctx, p, func(m pipeline.Message) error {
		if err := fold.Begin(m); err != nil {
			return err
		}
		for {
			more, err := next(fold)
			if err != nil {
				return err
			}
			for _, e := range fold.Effects() {
				if e.Offer == nil {
					continue
				}
				data, err := json.Marshal(e.Offer)
				if err != nil {
					return err
				}
				offers[place{e.Chain, e.Pos.N}] = &given{pos: e.Pos, id: e.Offer.ID, data: data}
				ids[e.Offer.ID] = true
			}
			if !more {
				return nil
			}
		}
	})
	if err != nil {
		return v, err
	}
	end, applied, _, _ := fold.At()
	v.Applied, v.Offers = applied, len(offers)
	first := map[string]uint64{}
	var later []broker.Record // of messages that have come meanwhile, if there are such
	err = conn.ScanOffers(ctx, p, func(r broker.Record) error {
		if r.Pos.S > end {
			r.Data = nil
			later = append(later, r)
			return nil
		}
		v.Stored++
		if first[r.Chain] == 0 {
			first[r.Chain] = r.Pos.N
		}
		g := offers[place{r.Chain, r.Pos.N}]
		switch {
		case g != nil && !g.seen && g.pos == r.Pos && bytes.Equal(g.data, r.Data):
			g.seen = true
		case g != nil && g.seen || ids[r.ID] && (g == nil || g.id != r.ID):
			v.Duplicate++
			v.example("partition %d, %s, record %d: offer %s is stored again", p, r.Chain, r.Pos.N, r.ID)
		case g != nil:
			g.seen = true
			v.Different++
			v.example("partition %d, %s: stored is %+v %s, the log gives %+v %s", p, r.Chain, r.Pos, r.Data, g.pos, g.data)
		default:
			v.Extra++
			v.example("partition %d, %s, record %d: offer %s is stored, the log does not give it", p, r.Chain, r.Pos.N, r.ID)
		}
		return nil
	})
	if err != nil {
		return v, err
	}
	for at, g := range offers {
		switch {
		case g.seen:
		case at.n < first[at.chain]:
			v.Trimmed++
		default:
			v.Missing++
			v.example("partition %d: offer %s, record %d of %s, is not stored", p, g.id, at.n, at.chain)
		}
	}
	_, end, err = conn.Extent(ctx, p)
	for _, r := range later {
		if r.Pos.S > end {
			v.Stored++
			v.Extra++
			v.example("partition %d, %s, record %d: offer %s came from message %d, the log ends at message %d", p, r.Chain, r.Pos.N, r.ID, r.Pos.S, end)
		}
	}
	return v, err
}
