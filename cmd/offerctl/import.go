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
	if len(args) > 0 && args[0] == "users" {
		return importUsers(ctx, args[1:], std)
	}
	fs := newFlags(std, `import --format rees46 FILE[.gz]
       offerctl import users FILE.csv|.jsonl[.gz] --to URL --server-key KEY [--id COLUMN] [--rate N|max] [--dry-run] [--rejects FILE]`, `
import users sends a list of users through a gateway, with their traits: see
offerctl import users --help.

import --format converts a shop's export to events, one JSON object per line, on standard output.
The format rees46 is the CSV of the data set "eCommerce behavior data from multi
category store". view, cart, remove_from_cart and purchase become Product Viewed,
Product Added, Product Removed and Order Completed; category_code, brand, price
and session are kept; messageId is rees46-<row>, with rows counted from 1.`,
		"offerctl import --format rees46 events.csv.gz > events.jsonl\nofferctl import users tiers.csv --to http://127.0.0.1:8080 --server-key KEY")
	format := fs.String("format", "", "the export's `FORMAT`: rees46")
	rest, err := fs.parse(args)
	switch {
	case err != nil:
		return err
	case *format == "":
		return usagef("--format is missing: the only known format is rees46")
	case *format != "rees46":
		return usagef("unknown format %q: the only known format is rees46", *format)
	case len(rest) != 1:
		return usagef("name one file, or - for standard input")
	}
	if err := apart(std, "-", rest[0]); err != nil {
		return err
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

// rees46Properties are the properties of an event. An empty column becomes an
// absent property, so that a condition on it does not hold.
type rees46Properties struct {
	ProductID  string      `json:"product_id"`
	CategoryID string      `json:"category_id,omitempty"`
	Category   string      `json:"category,omitempty"`
	Brand      string      `json:"brand,omitempty"`
	Price      json.Number `json:"price,omitempty"`
	Session    string      `json:"session,omitempty"`
}

// rees46 converts an export in the format rees46.
func rees46(ctx context.Context, in *input, out io.Writer) error {
	lines := &lineReader{in: in}
	r := csv.NewReader(lines)
	r.ReuseRecord = true
	column, err := rees46Header(r)
	if err != nil {
		return err
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
		ev, err := rees46Row(row, func(name string) string { return rec[column[name]] })
		if err != nil {
			return fmt.Errorf("row %d: %w", row, err)
		}
		if err := enc.Encode(ev); err != nil {
			return err
		}
	}
}

// rees46Header reads the header, and returns the index of each column.
func rees46Header(r *csv.Reader) (map[string]int, error) {
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("no header: %w", err)
	}
	column := map[string]int{}
	for i, name := range head {
		column[name] = i
	}
	for _, name := range []string{"event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id", "user_session"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("the header has no column %s", name)
		}
	}
	return column, nil
}

// rees46Row returns the event of a row.
func rees46Row(row int, get func(column string) string) (ev rees46Event, err error) {
	name, ok := rees46Events[get("event_type")]
	if !ok {
		return ev, fmt.Errorf("unknown event_type %q", get("event_type"))
	}
	at, err := time.Parse("2006-01-02 15:04:05 MST", get("event_time"))
	if err != nil || at.Location() != time.UTC {
		return ev, fmt.Errorf("event_time %q is not a time in UTC", get("event_time"))
	}
	price := get("price")
	if _, err := strconv.ParseFloat(price, 64); price != "" && err != nil {
		return ev, fmt.Errorf("price %q is not a number", price)
	}
	return rees46Event{
		Type: "track", Event: name, MessageID: "rees46-" + strconv.Itoa(row), UserID: get("user_id"), Timestamp: at.Format(time.RFC3339),
		Properties: rees46Properties{get("product_id"), get("category_id"), get("category_code"), get("brand"), json.Number(price), get("user_session")},
	}, nil
}

// lineReader passes an input's lines to the CSV reader, so that the input can
// show its progress.
type lineReader struct {
	in   *input
	rest []byte
}

func (l *lineReader) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		line, err := l.in.next()
		if err == errLongLine {
			return 0, fmt.Errorf("line %d: %w", l.in.n, err) // where the row ends is not known
		}
		if err != nil {
			return 0, err
		}
		l.rest = append(append(l.rest[:0], line...), '\n')
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
