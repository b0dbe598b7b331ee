package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// importEvents is `offerctl import`.
func importEvents(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "import --format rees46 FILE[.gz]", `
Turns a shop's export into events, one JSON object a line, on standard output.
rees46: the CSV of the "eCommerce behavior data from multi category store"
set. view, cart, remove_from_cart and purchase become Product Viewed, Product
Added, Product Removed and Order Completed; category_code, brand, price and
session are kept; messageId is rees46-<row>, rows counted from 1.`,
		"offerctl import --format rees46 events.csv.gz > events.jsonl")
	format := fs.String("format", "", "the export's `FORMAT`: rees46")
	rest, err := fs.parse(args)
	switch {
	case err != nil:
		return err
	case *format == "":
		return usagef("--format is missing; known is rees46")
	case *format != "rees46":
		return usagef("unknown format %q; known is rees46", *format)
	case len(rest) != 1:
		return usagef("name one file, or - for standard input")
	}
	in, err := openInput(rest[0], std)
	if err != nil {
		return err
	}
	defer in.close()
	out := bufio.NewWriterSize(std.out, 1<<20)
	if err := rees46(ctx, in, out); err != nil {
		return fmt.Errorf("%s: %w", rest[0], err)
	}
	return out.Flush()
}

var rees46Events = map[string]string{
	"view": "Product Viewed", "cart": "Product Added", "remove_from_cart": "Product Removed", "purchase": "Order Completed",
}

type rees46Event struct {
	Type       string           `json:"type"`
	Event      string           `json:"event"`
	MessageID  string           `json:"messageId"`
	UserID     string           `json:"userId"`
	Timestamp  string           `json:"timestamp"`
	Properties rees46Properties `json:"properties"`
}

// Empty columns become absent properties, so that a condition on one is
// simply not met.
type rees46Properties struct {
	ProductID  string      `json:"product_id"`
	CategoryID string      `json:"category_id,omitempty"`
	Category   string      `json:"category,omitempty"`
	Brand      string      `json:"brand,omitempty"`
	Price      json.Number `json:"price,omitempty"`
	Session    string      `json:"session,omitempty"`
}

func rees46(ctx context.Context, in *input, out io.Writer) error {
	lines := &lineReader{in: in}
	r := csv.NewReader(lines)
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return fmt.Errorf("no header: %w", err)
	}
	column := map[string]int{}
	for i, name := range head {
		column[name] = i
	}
	for _, name := range []string{"event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id", "user_session"} {
		if _, ok := column[name]; !ok {
			return fmt.Errorf("the header has no column %s", name)
		}
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for row := 1; ; row++ {
		if row%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		get := func(name string) string { return rec[column[name]] }
		name, ok := rees46Events[get("event_type")]
		if !ok {
			return fmt.Errorf("row %d: unknown event_type %q", row, get("event_type"))
		}
		at, err := time.Parse("2006-01-02 15:04:05 MST", get("event_time"))
		if err != nil || at.Location() != time.UTC {
			return fmt.Errorf("row %d: event_time %q is not a time in UTC", row, get("event_time"))
		}
		price := get("price")
		if _, err := strconv.ParseFloat(price, 64); price != "" && err != nil {
			return fmt.Errorf("row %d: price %q is no number", row, price)
		}
		err = enc.Encode(rees46Event{
			Type: "track", Event: name, MessageID: "rees46-" + strconv.Itoa(row), UserID: get("user_id"), Timestamp: at.Format(time.RFC3339),
			Properties: rees46Properties{get("product_id"), get("category_id"), get("category_code"), get("brand"), json.Number(price), get("user_session")},
		})
		if err != nil {
			return err
		}
	}
}

// lineReader gives an input's lines to the CSV reader, which then shows its
// progress too.
type lineReader struct {
	in   *input
	rest []byte
}

func (l *lineReader) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		line, err := l.in.next()
		if err != nil {
			return 0, err
		}
		l.rest = append(append(l.rest[:0], line...), '\n')
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
