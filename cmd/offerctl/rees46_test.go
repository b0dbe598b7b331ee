package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/oracle"
)

// TestRees46 compares the core with the oracle on real events: with the shipped
// campaigns, and with some that use more of the engine.
func TestRees46(t *testing.T) {
	events := rees46Lines(t)
	dir := t.TempDir()
	more := filepath.Join(dir, "more.yaml")
	if err := os.WriteFile(more, []byte(moreCampaigns), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../../deploy/campaigns", more} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			def, err := config.LoadCampaigns(path)
			if err != nil {
				t.Fatal(err)
			}
			want, err := oracle.Run(def.JSON(), events)
			if err != nil {
				t.Fatal(err)
			}
			b, problems := pipeline.NewBacktest(def)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			n := 0
			for _, line := range events {
				if err := b.Line(line, func(o *pipeline.Offer) {
					if w := nth(want.Offers, n); jsonOf(o) != w {
						t.Fatalf("offer %d:\n   core %s\n oracle %s", n, jsonOf(o), w)
					}
					n++
				}); err != nil {
					t.Fatal(err)
				}
			}
			if n != len(want.Offers) {
				t.Fatalf("core: %d offers, oracle: %d", n, len(want.Offers))
			}
			counts, _ := b.Counts()
			for _, c := range def.Campaigns {
				got := counts[c.ID]
				t.Logf("%s: %+v", c.ID, got)
				for o, n := range got.Ended {
					if what := pipeline.Outcome(o).String(); int(n) != want.Counts[c.ID][what] {
						t.Errorf("%s: %s %d, oracle: %d", c.ID, what, n, want.Counts[c.ID][what])
					}
				}
				if got.Ended[pipeline.Fired] == 0 {
					t.Errorf("%s never fires on the real events", c.ID)
				}
			}
		})
	}
}

// rees46Lines returns the real events, imported.
func rees46Lines(t *testing.T) [][]byte {
	const path = "../../../shared/data/rees46/events.csv.gz"
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the real events are not here: %v", err)
	}
	in, err := openInput(path, stdio{err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	var out bytes.Buffer
	if err := rees46(context.Background(), in, &out); err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	if len(lines) != 17434 {
		t.Fatalf("%d events, want 17434", len(lines))
	}
	return lines
}

func nth(offers []oracle.Offer, n int) string {
	if n < len(offers) {
		return jsonOf(offers[n])
	}
	return "nothing"
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(b)
}

const moreCampaigns = `
version: 1
lateness: 10m
bounds: {entries: 8, keys: 3}
forget: {anonymous: 1d, known: 2d}
features:
  views:    {on: Product Viewed, agg: count, within: 1h}
  events:   {on: "*", agg: count}
  by_brand: {on: [Product Viewed, Product Added], by: brand, agg: count, within: 2d}
  spent:    {on: Order Completed, by: category, agg: sum, of: item.price}
  cheapest: {on: Product Viewed, by: category, agg: min, of: item.price, within: 1d}
  dearest:  {on: Product Viewed, agg: max, of: event.properties.price, within: 6h}
  mean:     {on: Product Viewed, agg: avg, of: event.properties.price, within: 6h}
  kinds:    {on: Product Viewed, agg: distinct, of: event.properties.category, within: 3h}
  first:    {on: Product Viewed, agg: first, of: event.properties.brand, within: 12h}
  newest:   {on: "*", agg: last, of: event.name}
  seen:     {on: Product Viewed, agg: list, key: product_id, fields: [product_id, price], keep: 3, remove_on: [Order Completed], within: 1d}
  stay:     {on: Product Viewed, by: product_id, agg: dwell, within: 30m}
  long:     {on: Product Viewed, where: event.properties.price > 300, agg: dwell}
policies:
  consent: {sms: none, push: none, email: none}
  quiet_hours: none
  caps: [{channels: [sms, push], max: 2, within: 1d}]
  pause: {channels: [push, email], after_any: 1h}
campaigns:
  brand:
    on: Product Viewed
    if:
      - by_brand[event.properties.brand] >= 3
      - by_brand.size() >= 2
    offer: {channel: web, data: {brands: "{{ by_brand }}", all: "{{ events }}"}}
    limits: [{max: 3, per: session}]
  left:
    on: [Product Viewed, Product Added]
    where: event.properties.price > 100
    if: [mean != null, mean > 150]
    unless: {on: [Order Completed, Product Added], match: brand, within: 20m, restart: false}
    priority: 3
    offer: {channel: push, data: {title: "{{ event.properties.brand }} from {{ cheapest['electronics.smartphone'] == null ? 0.0 : dearest }}", seen: "{{ seen }}"}}
    limits: [{max: 4}]
  stays:
    on: Product Viewed
    if:
      - stay[event.properties.product_id] >= duration("75s")
      - kinds >= 1
    offer: {channel: web, data: {stay: "{{ stay }}", first: "{{ [first] }}", newest: "{{ newest }}"}}
  looks-long:
    on: Product Viewed
    if: long >= duration("4m")
    unless: {on: Order Completed, within: 30m}
    priority: 1
    offer: {channel: sms, expires: 1h, data: {mean: "{{ mean }}", long: "{{ long }}", dearest: "{{ dearest }}"}}
  thanks:
    on: Order Completed
    offer: {channel: email, kind: service, data: {spent: "{{ spent }}", left: "{{ seen.map(i, i.product_id) }}", visit: "{{ session.count }} of {{ session.started }}"}}
  again:
    on: Product Viewed
    if: [views % 5 == 0]
    priority: -2
    offer: {channel: push, data: {views: "{{ views }}", cheapest: "{{ cheapest.size() }}"}}
    limits: [{max: 1, within: 3h}]
`
