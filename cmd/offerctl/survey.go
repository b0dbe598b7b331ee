package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"offerstream/config"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/survey"
)

// A surveyor compares campaign sets with a sample of a shop's events (check --events
// and check --nats).
type surveyor struct {
	events *string
	live   natsFlags
	most   *int
	std    stdio
}

// surveying declares the flags.
func (f *flags) surveying(std stdio) *surveyor {
	s := &surveyor{std: std}
	s.events = f.String("events", "", "a `FILE` of events, one JSON object per line, may be gzipped: tell where the set does not fit them, and how often each condition held")
	s.live = natsFlags{
		f.String("nats", "", "the same with the newest events of a deployment's log; the NATS `URL`"),
		f.String("creds", os.Getenv("OFFERSTREAM_CREDS"), "a NATS credentials `FILE`, for --nats"),
		f.String("prefix", os.Getenv("OFFERSTREAM_PREFIX"), "the deployment's `PREFIX`, for --nats"),
	}
	s.most = f.Int("sample", 200_000, "read at most `N` events: the first of the file, the newest of the log")
	return s
}

// given reports whether there is a sample to compare with.
func (s *surveyor) given() bool { return *s.events != "" || *s.live.url != "" }

// wrong is a mistake in the flags, for a number of sets.
func (s *surveyor) wrong(sets int) error {
	switch {
	case *s.events != "" && *s.live.url != "":
		return usagef("--events and --nats are both given: choose one")
	case *s.most < 1:
		return usagef("--sample %d: at least 1 event is needed", *s.most)
	case *s.events == "-" && sets > 1:
		return usagef("standard input can be read for one set only, here are %d: name a file", sets)
	}
	return nil
}

// survey compares a set, which has been read from files, with the sample, and adds
// what it finds to the findings.
func (s *surveyor) survey(ctx context.Context, def *campaign.Definition, files []string, findings []config.Finding) (*survey.Result, []config.Finding, error) {
	sv, err := survey.New(def)
	if err != nil {
		return nil, nil, err
	}
	take := s.file
	if *s.live.url != "" {
		take = s.log
	}
	if err := take(ctx, sv); err != nil {
		return nil, nil, err
	}
	r := sv.Result()
	places, err := config.ReadPlaces(files...)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range r.Findings {
		found := places.Finding(f.Rule, f.Problem, f.Element)
		if f.Rule == survey.EventNeverOccurs { // the sample knows better which of two similar names is right
			findings = slices.DeleteFunc(findings, func(o config.Finding) bool {
				return o.Rule == "event-name" && o.File == found.File && o.Line == found.Line && o.Col == found.Col
			})
		}
		findings = append(findings, found)
	}
	slices.SortStableFunc(findings, func(a, b config.Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Col-b.Col)
	})
	return r, findings, nil
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
	err = in.each(ctx, &refused, func(line []byte) error {
		if err := sv.Event(line); err != nil {
			return err
		}
		if accepted++; accepted == *s.most {
			return errEnough
		}
		return nil
	})
	if err != nil && err != errEnough {
		return fmt.Errorf("%s: %w", *s.events, err)
	}
	if err := refused.all(in, uint64(accepted)); err != nil {
		return fmt.Errorf("%s: %w", *s.events, err)
	}
	if accepted == 0 {
		return fmt.Errorf("%s: no events", *s.events)
	}
	in.close()
	if refused.n > 0 {
		fmt.Fprintf(s.std.err, "%s: warning: %s left out; the first is line %d: %v\n", *s.events, noEvents(refused.n), refused.line, refused.first)
	}
	refused.warn(s.std.err, in)
	return nil
}

// log takes the sample from a deployment's log.
func (s *surveyor) log(ctx context.Context, sv *survey.Survey) error {
	conn, err := s.live.connect(ctx, s.std)
	if err != nil {
		return err
	}
	defer conn.Close()
	var refused refusals
	accepted := 0
	err = audit.Sample(ctx, conn, *s.most, func(raw []byte) error {
		err := sv.Event(raw)
		var reject *event.Reject
		if errors.As(err, &reject) {
			refused.add(0, err)
			return nil
		}
		accepted++
		return err
	})
	switch {
	case err != nil:
		return err
	case accepted == 0:
		return errors.New("the log has no events yet")
	case refused.n > 0:
		fmt.Fprintf(s.std.err, "warning: %s left out; the first: %v\n", noEvents(refused.n), refused.first)
	}
	return nil
}

// noEvents tells of lines that are no events.
func noEvents(n uint64) string {
	if n == 1 {
		return "1 line is no event and"
	}
	return fmt.Sprintf("%d lines are no events and", n)
}
