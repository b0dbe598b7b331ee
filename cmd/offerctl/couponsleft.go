package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// codesLeft is `offerctl coupons left`.
func codesLeft(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "coupons left [POOL...] [--json] [--nats URL]", `
Shows how many codes were imported into pools, how many are given to offers, and how
many are left: of the pools that are named, or of those from which campaigns of the
live set take codes. It asks the workers that own the pools. A code that is given
back, because its offer could not go out, counts as left.`,
		"offerctl coupons left spring --nats nats://127.0.0.1:4222")
	asJSON := fs.Bool("json", false, "print a JSON array, and nothing else")
	n := fs.nats()
	names, err := fs.parse(args)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := checkPool(name); err != nil {
			return err
		}
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	defer conn.Close()
	if len(names) == 0 {
		def, err := liveDefinition(ctx, conn)
		if err != nil {
			return err
		}
		if def != nil {
			names = pipeline.Pools(def)
		}
	}
	pools := []listedPool{}
	for _, name := range names {
		is, err := askPool(ctx, conn, name)
		if err != nil {
			return fmt.Errorf("pool %s: %w", name, err)
		}
		pools = append(pools, listedPool{name, is})
	}
	if *asJSON {
		return writeJSON(std.out, pools)
	}
	out := onDisplay(std.out)
	if len(pools) == 0 {
		fmt.Fprintln(out, "no campaign of the live set takes codes from a pool")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "pool\timported\tgiven\tleft\t")
	for _, p := range pools {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n", p.Pool, p.Imported, p.Given, p.Left, lowText(p.PoolState))
	}
	return w.Flush()
}

// A listedPool is a pool in the list.
type listedPool struct {
	Pool string `json:"pool"`
	pipeline.PoolState
}

// lowText says what is to be done about a pool; "": nothing.
func lowText(p pipeline.PoolState) string {
	switch {
	case p.Imported == 0:
		return "no codes were imported: offerctl coupons import"
	case p.Low():
		return "under 10 % is left: import more"
	}
	return ""
}

// askPool asks the owner of a pool what is left of it.
func askPool(ctx context.Context, conn *broker.Conn, name string) (is pipeline.PoolState, err error) {
	a, err := askOwner(ctx, conn, broker.Query{Key: pipeline.PoolKey(name)})
	switch {
	case err != nil:
		return is, err
	case a.Pool == nil:
		return is, errors.New("the worker is of a version that knows no pools: start the new version")
	}
	if err := json.Unmarshal(a.Pool, &is); err != nil {
		return is, fmt.Errorf("the worker's answer: %w", err)
	}
	return is, nil
}
