package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"offerstream/config"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/survey"
)

// A surveyor compares campaign sets with a sample of a shop's events (check --events).
type surveyor struct {
	events *string
	most   *int
	std    stdio
}

// surveying declares the flags.
func (f *flags) surveying(std stdio) *surveyor {
	s := &surveyor{std: std}
	s.events = f.String("events", "", "a `FILE` of events, one JSON object per line, may be gzipped: tell where the set does not fit them, and how often each condition held")
	s.most = f.Int("sample", 200_000, "read at most `N` events, the first of the file")
	return s
}

// given reports whether there is a sample to compare with.
func (s *surveyor) given() bool { return *s.events != "" }

// survey compares a set, which has been read from files, with the sample.
func (s *surveyor) survey(ctx context.Context, def *campaign.Definition, files []string) (*survey.Result, []surveyed, error) {
	if *s.most < 1 {
		return nil, nil, usagef("--sample is at least 1")
	}
	sv, err := survey.New(def)
	if err != nil {
		return nil, nil, err
	}
	if err := s.file(ctx, sv); err != nil {
		return nil, nil, err
	}
	r := sv.Result()
	places, err := config.ReadPlaces(files...)
	if err != nil {
		return nil, nil, err
	}
	var found []surveyed
	for _, f := range r.Findings {
		found = append(found, surveyed{places.Of(f.Problem, f.Element), f.Rule})
	}
	slices.SortStableFunc(found, func(a, b surveyed) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Col-b.Col)
	})
	return r, found, nil
}

// A surveyed is a finding of a survey at its place in a file.
type surveyed struct {
	config.Problem
	rule string
}

// file takes the sample from a file.
func (s *surveyor) file(ctx context.Context, sv *survey.Survey) error {
	in, err := openInput(*s.events, s.std)
	if err != nil {
		return err
	}
	defer in.close()
	var refused refusals
	accepted := 0
	for line := 1; accepted < *s.most; line++ {
		if line%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		raw, err := in.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == errLongLine {
			refused.add(line, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", *s.events, err)
		}
		if len(raw) == 0 {
			continue
		}
		var reject *event.Reject
		switch err := sv.Event(raw); {
		case errors.As(err, &reject):
			refused.add(line, err)
		case err != nil:
			return fmt.Errorf("%s: line %d: %w", *s.events, line, err)
		default:
			accepted++
		}
	}
	if err := refused.all(in, uint64(accepted)); err != nil {
		return fmt.Errorf("%s: %w", *s.events, err)
	}
	if accepted == 0 {
		return fmt.Errorf("%s: no events", *s.events)
	}
	in.close()
	if refused.n > 0 {
		fmt.Fprintf(s.std.err, "%s: warning: %s no events and left out; the first is line %d: %v\n", *s.events, countAre(refused.n, "line"), refused.line, refused.first)
	}
	refused.warn(s.std.err, in)
	return nil
}

// countAre is a number with its noun and verb: 1 line is, 2 lines are.
func countAre(n uint64, of string) string {
	if n == 1 {
		return "1 " + of + " is"
	}
	return fmt.Sprintf("%d %ss are", n, of)
}
