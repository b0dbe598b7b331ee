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
pending evaluations, and offers that went out. It asks the worker that owns the
user's partition.`,
		"offerctl user ada --nats nats://127.0.0.1:4222")
	n := fs.nats()
	anonymous := fs.Bool("anonymous", false, "U is an anonymousId")
	rest, err := fs.parse(args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usagef("%s given: name exactly one", count(len(rest), "user"))
	}
	if err := event.CheckUser(rest[0]); err != nil {
		return err
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	defer conn.Close()
	a, err := askOwner(ctx, conn, broker.Query{Key: event.UserKey(rest[0], *anonymous)})
	if err != nil {
		return err
	}
	enc := json.NewEncoder(std.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(a.User)
}

// askOwner asks the owner of the user's partition about the user.
func askOwner(ctx context.Context, conn *broker.Conn, query broker.Query) (a broker.Answer, err error) {
	p := event.Partition(query.Key, conn.Partitions)
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a, err = askPartition(within, conn, p, query)
	switch {
	case ctx.Err() != nil:
		return a, ctx.Err()
	case errors.Is(err, errNoAnswer):
		return a, fmt.Errorf("no worker answers for partition %d, which has this user: check that a worker runs", p)
	case err == nil && a.Error != "":
		err = errors.New(a.Error)
	}
	return a, err
}

// errNoAnswer means that the owner of a partition has not answered.
var errNoAnswer = errors.New("no worker answers")

// askPartition asks the owner of a partition, until ctx is done.
func askPartition(ctx context.Context, conn *broker.Conn, p int, query broker.Query) (a broker.Answer, err error) {
	q, err := json.Marshal(query)
	if err != nil {
		return a, err
	}
	var answer []byte // the first one
	err = conn.Ask(ctx, conn.Names.QuerySubject(p), q, func(b []byte) (enough bool) { answer = b; return true })
	switch {
	case err != nil:
		return a, err
	case answer == nil:
		return a, errNoAnswer
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return a, fmt.Errorf("the worker's answer: %w", err)
	}
	return a, nil
}
