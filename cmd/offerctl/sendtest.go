package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

// sendTest is `offerctl send-test`.
func sendTest(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "send-test CAMPAIGN --user U [--anonymous] [--row R] [--event JSON] [--nats URL]", `
Renders the campaign's offer for the user with the state now, publishes it on
offers-test.<channel>, and prints it. Subscribe to that subject to see in a
sender what a real offer would look like. It has the header ce-test and the field
"test": true. It is in no stream, is counted nowhere, and uses up no limit. No
rule stops it; those that would stop a real offer now are printed. The code of
a coupon is COUPON, which no checkout accepts.

Templates that read the event see that of --event; else the user's newest with
which the campaign waits; else one without properties.`,
		`offerctl send-test cart-left --user ada --nats nats://127.0.0.1:4222
offerctl send-test cart-left --user ada --event '{"properties":{"product_id":"b1"}}'`)
	n := fs.nats()
	user := fs.String("user", "", "the userId, `U`")
	anonymous := fs.Bool("anonymous", false, "U is an anonymousId")
	row := fs.String("row", "", "the row, `R`, of a campaign with for_each")
	given := fs.String("event", "", "the event that the templates read, as `JSON`; what it lacks of type, name, user and messageId is filled in")
	rest, err := fs.parse(args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usagef("%s given: name exactly one", count(len(rest), "campaign"))
	}
	if *user == "" {
		return usagef("no user given: say for whom with --user U")
	}
	if err := event.CheckUser(*user); err != nil {
		return err
	}
	q := broker.Query{Key: event.UserKey(*user, *anonymous), Render: &pipeline.RenderQuery{Campaign: rest[0], Row: *row, Nonce: rand.Text()}}
	if *given != "" {
		if !json.Valid([]byte(*given)) {
			return usagef("--event is not JSON: %s", *given)
		}
		q.Render.Event = json.RawMessage(*given)
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	defer conn.Close()
	r, err := render(ctx, conn, q)
	if err != nil {
		return err
	}
	m, err := broker.TestMessage(conn.Names, r.Offer)
	if err != nil {
		return err
	}
	if err := publishTest(ctx, conn.NC, m); err != nil {
		return err
	}
	who := "the userId " + *user + " (if it is an anonymousId, add --anonymous)"
	if *anonymous {
		who = "the anonymousId " + *user
	}
	printTest(std.out, m, r, who)
	return nil
}

// render asks the owner of the user's partition for the offer.
func render(ctx context.Context, conn *broker.Conn, q broker.Query) (*pipeline.Rendering, error) {
	a, err := askOwner(ctx, conn, q)
	if err != nil {
		return nil, err
	}
	r := new(pipeline.Rendering)
	if len(a.Rendered) == 0 {
		return nil, errors.New("the worker is of an older version, which renders no test offers: update it")
	}
	if err := json.Unmarshal(a.Rendered, r); err != nil || r.Offer == nil || !r.Offer.Test {
		return nil, fmt.Errorf("the worker's answer is no test offer: use the offerctl of the worker's version (%v)", err)
	}
	return r, nil
}

// publishTest publishes the message, and returns when NATS has it or has refused it.
func publishTest(ctx context.Context, nc *nats.Conn, m *nats.Msg) error {
	if err := nc.PublishMsg(m); err != nil {
		return fmt.Errorf("publish on %s: %w", m.Subject, err)
	}
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := nc.FlushWithContext(within); err != nil {
		return fmt.Errorf("publish on %s: %w", m.Subject, err)
	}
	if err := nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		return fmt.Errorf("publish on %s: %w: give the credentials of an operator", m.Subject, err)
	}
	return nil
}

// printTest prints the message, and what is to be known about it.
func printTest(w io.Writer, m *nats.Msg, r *pipeline.Rendering, who string) {
	fmt.Fprintln(w, m.Subject)
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		fmt.Fprintf(w, "%s: %s\n", name, m.Header.Get(name))
	}
	fmt.Fprintf(w, "\n%s\n\n", m.Data)
	if !r.Known {
		fmt.Fprintf(w, "Nothing is known about %s, so it is rendered as for somebody new.\n", who)
	}
	fmt.Fprintf(w, "Rendered with %s.\n", r.With)
	if len(r.Stops) == 0 {
		fmt.Fprintln(w, "No condition or policy would stop a real offer now.")
		return
	}
	fmt.Fprintln(w, "A real offer would be stopped now by:")
	for _, s := range r.Stops {
		fmt.Fprintf(w, "  %s\n", s)
	}
}
