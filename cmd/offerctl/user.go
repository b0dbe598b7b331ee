package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

// user is `offerctl user`.
func user(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "user U [--anonymous] [--nats URL]", `
Shows what is stored about a user now, as JSON: features, session, profile,
pending evaluations, lists of items that hold the user, and offers that went out. It
asks the worker that owns the user's partition. An evaluation that asks an item, a
budget or a pool is pending until that has answered. Of a visitor who has become a
user it says which (owner): that user has all that was known of the visitor.`,
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
	sayOwner(std.err, rest[0], a.User)
	enc := json.NewEncoder(std.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(a.User)
}

// sayOwner says which user a visitor has become, and that this is the one to look at.
func sayOwner(out io.Writer, visitor string, is json.RawMessage) {
	var u struct{ Owner string }
	if json.Unmarshal(is, &u) != nil {
		return
	}
	if id, ok := strings.CutPrefix(u.Owner, "u:"); ok {
		fmt.Fprintf(onDisplay(out), "visitor %s has become user %s, who has all that was known of the visitor: offerctl user %s\n", visitor, id, shellQuoted(id))
	}
}

// shellQuoted is a text as one word of a shell's command.
func shellQuoted(text string) string {
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-./:@+", r)
	}) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// askOwner asks the owner of the partition of a user, an item or a pool.
func askOwner(ctx context.Context, conn *broker.Conn, query broker.Query) (a broker.Answer, err error) {
	p := event.Partition(query.Key, conn.Partitions)
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a, err = askPartition(within, conn, p, query)
	switch {
	case ctx.Err() != nil:
		return a, ctx.Err()
	case errors.Is(err, errNoAnswer):
		return a, fmt.Errorf("no worker answers for partition %d, which has this %s: check that a worker runs", p, kindOf(query.Key))
	case err == nil && a.Error != "":
		err = errors.New(a.Error)
	}
	return a, err
}

// kindOf is what an entity's key is of.
func kindOf(key string) string {
	switch {
	case pipeline.IsItem(key):
		return "item"
	case strings.HasPrefix(key, pipeline.PoolKey("")):
		return "pool"
	}
	return "user"
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
