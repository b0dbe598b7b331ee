package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

// user is `offerctl user`.
func user(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "user U [--anonymous] [--nats URL]", `
Shows what is stored about a user now, as JSON: features, session, profile,
what is pending, offers that went out. The worker that owns the user's
partition is asked.`,
		"offerctl user ada --nats nats://127.0.0.1:4222")
	n := fs.nats()
	anonymous := fs.Bool("anonymous", false, "U is an anonymousId")
	rest, err := fs.parse(args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usagef("one user is needed, %d are given", len(rest))
	}
	if err := event.CheckUser(rest[0]); err != nil {
		return err
	}
	key := "u:" + rest[0]
	if *anonymous {
		key = "a:" + rest[0]
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	defer conn.Close()
	q, err := json.Marshal(broker.Query{Key: key})
	if err != nil {
		return err
	}
	p := event.Partition(key, conn.Partitions)
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var answer []byte // the first
	err = conn.Ask(within, conn.Names.QuerySubject(p), q, func(b []byte) (enough bool) { answer = b; return true })
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case answer == nil:
		return fmt.Errorf("nobody answers for partition %d, which has this user: is a worker running?", p)
	}
	var a broker.Answer
	if err := json.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf("the worker's answer: %w", err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	enc := json.NewEncoder(std.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(a.User)
}
