package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/event"
	"offerstream/pipeline/worker"
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
	q, err := json.Marshal(worker.Query{Key: key})
	if err != nil {
		return err
	}
	p := event.Partition(key, conn.Partitions)
	m, err := conn.NC.Request(conn.Names.QuerySubject(p), q, 5*time.Second)
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) {
		return fmt.Errorf("nobody answers for partition %d, which has this user: is a worker running?", p)
	}
	if err != nil {
		return err
	}
	var a worker.Answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
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
