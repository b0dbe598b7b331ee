package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"
)

// An Against compares two programs: this one and, usually, an older build.
type Against struct {
	This, Other string
	Args        []string // flags of bench, each as --name=value
	Pairs       int
	Progress    io.Writer // a line after each pair
}

// A pair holds the results of both programs, by key.
type pair struct{ this, other map[string]float64 }

// Compare lets both programs measure, one after the other, once for each pair.
// Which one goes first alternates, so that a machine that becomes slower or
// faster favours neither.
func (a Against) Compare(ctx context.Context) (*Comparison, error) {
	known, err := a.knownToOther(ctx)
	if err != nil {
		return nil, err
	}
	var pairs []pair
	var c *Comparison
	for start := time.Now(); len(pairs) < a.Pairs; {
		var p pair
		turns := []func() error{
			func() (err error) { p.this, err = numbersOf(ctx, a.This, a.Args); return err },
			func() (err error) { p.other, err = numbersOf(ctx, a.Other, known); return err },
		}
		if len(pairs)%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			if err := turn(); err != nil {
				return nil, err
			}
		}
		pairs = append(pairs, p)
		if c, err = compare(a.Other, pairs); err != nil {
			return nil, err
		}
		left := time.Since(start) / time.Duration(len(pairs)) * time.Duration(a.Pairs-len(pairs))
		fmt.Fprintf(a.Progress, "pair %d of %d%s; about %s left\n", len(pairs), a.Pairs, c.soFar(), left.Round(time.Second))
	}
	return c, nil
}

// workerArg limits a run to the worker's rate. The numbers that remain are the
// same as without it.
const workerArg = "--worker=true"

// knownToOther returns the flags for the other program. An older one that does
// not know --worker runs without it: it takes longer, and its result has more
// keys.
func (a Against) knownToOther(ctx context.Context) ([]string, error) {
	if !slices.Contains(a.Args, workerArg) {
		return a.Args, nil
	}
	help, err := outputOf(ctx, a.Other, []string{"bench", "--help"})
	if err != nil || bytes.Contains(help, []byte("--worker")) {
		return a.Args, err
	}
	fmt.Fprintf(a.Progress, "%s does not know --worker: it measures everything, which takes longer\n", a.Other)
	return slices.DeleteFunc(slices.Clone(a.Args), func(arg string) bool { return arg == workerArg }), nil
}

// numbersOf lets a program measure and returns the numbers of its last line.
func numbersOf(ctx context.Context, program string, args []string) (map[string]float64, error) {
	out, err := outputOf(ctx, program, append([]string{"bench", "--json"}, args...))
	if err != nil {
		return nil, err
	}
	out = bytes.TrimSpace(out)
	last := out[bytes.LastIndexByte(out, '\n')+1:]
	var object map[string]any
	if err := json.Unmarshal(last, &object); err != nil {
		return nil, fmt.Errorf("bench: the last line of %s is not a JSON object: %q", program, last)
	}
	numbers := map[string]float64{}
	flatten(numbers, "", object)
	return numbers, nil
}

// flatten puts the numbers of an object, and of nested objects, into one map:
// live.p99_ms is p99_ms of the object live.
func flatten(to map[string]float64, prefix string, object map[string]any) {
	for key, v := range object {
		switch v := v.(type) {
		case float64:
			to[prefix+key] = v
		case map[string]any:
			flatten(to, prefix+key+".", v)
		}
	}
}

// outputOf runs a program to its end, and returns its standard output. An error
// contains the last lines of its standard error.
func outputOf(ctx context.Context, program string, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it removes its files
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		said := bytes.TrimSpace(errs.Bytes())
		said = said[max(len(said)-errorEnd, 0):]
		return nil, fmt.Errorf("bench: %s: %w\n%s", cmd, err, said)
	}
	return out.Bytes(), nil
}

const errorEnd = 2000 // bytes
