package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A heard writer passes on what is written.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
	came chan struct{}
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case h.came <- struct{}{}:
	default:
	}
	return h.text.Write(b)
}

// await waits until a text was written.
func (h *heard) await(t *testing.T, text string) {
	t.Helper()
	for limit := time.After(time.Minute); ; {
		h.mu.Lock()
		all := h.text.String()
		h.mu.Unlock()
		if strings.Contains(all, text) {
			return
		}
		select {
		case <-h.came:
		case <-limit:
			t.Fatalf("in vain awaited %q in:\n%s", text, all)
		}
	}
}

// TestShadowCommand: a shadow of a set with a lower threshold and a campaign less tells
// what it would have sent, until Ctrl-C, while workers run; what they store stays what
// the log yields. Before it has caught up there is nothing to tell.
func TestShadowCommand(t *testing.T) {
	was := shadowSaid
	shadowSaid = 20 * time.Millisecond
	defer func() { shadowSaid = was }()
	n := startShop(t)
	url, api := n.natsURL(), "http://"+n.addr+"/v1/track"
	bags := func(whose string, from, to int) {
		for i := from; i < to; i++ {
			for u := range 6 {
				postEvent(t, api, fmt.Sprintf(`{"userId":"%s%d","event":"Product Viewed","messageId":"m%[1]s%[2]d-%d","properties":{"product_id":"b%[3]d","category":"bag","brand":"acme","price":120}}`, whose, u, i))
			}
		}
	}
	changed := file(t, "changed.yaml", `
features:
  views: {on: Product Viewed, by: category, agg: count, within: 1h}
campaigns:
  fan:
    on: Product Viewed
    if: ["views[event.properties.category] >= 4"]
    limits: [{max: 1, within: 1h}]
    offer: {channel: web, data: {n: "{{ views[event.properties.category] }}"}}
  broken:
    on: Product Viewed
    offer: {channel: web, data: "{{ event.properties.nothing }}"}
`)
	bags("u", 0, 3)
	page := filepath.Join(t.TempDir(), "shadow.html")
	shadowed := func(set, whose string, args ...string) string {
		t.Helper()
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		out, said := &heard{came: make(chan struct{}, 1)}, &heard{came: make(chan struct{}, 1)}
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, append([]string{"shadow", set, "--nats", url}, args...), stdio{strings.NewReader(""), out, said})
		}()
		said.await(t, "it has caught up with the log")
		bags(whose, 3, 5)
		said.await(t, ": 12 events; ")
		interrupt()
		if c := <-code; c != 0 {
			t.Fatalf("exit %d: %s%s", c, out.text.String(), said.text.String())
		}
		return out.text.String()
	}
	text := shadowed(changed, "u", "--report", page)
	for _, want := range []string{
		changed + " beside the live set, for ", ": 12 events, 6 users followed", "6 (6)", "gained  u", "fan went out on web at ", "after Product Viewed",
		"category-fan offer: the campaign is not in the set.", "failed: broken: offer.data: {{ event.properties.nothing }}: nothing is missing, ",
		"cost: not told", "Nothing was published. To make it live: offerctl apply " + changed + " --backfill",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	t.Log(text)
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "<title>Shadow · the live set · "+changed) || !strings.Contains(string(html), "fan went out on web") {
		t.Errorf("%v\n%.2000s", err, html)
	}
	if text := offerctl(t, "verify", "--settle", "1m", "--nats", url); !strings.Contains(text, "No differences") {
		t.Error(text)
	}
	shop, err := os.ReadFile("../../deploy/campaigns/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	higher := file(t, "higher.yaml", strings.Replace(string(shop), "category_views[event.properties.category] >= 4", "category_views[event.properties.category] >= 5", 1))
	bags("v", 0, 3)
	var object shadowObject
	if text := shadowed(higher, "v", "--json"); json.Unmarshal([]byte(text), &object) != nil || object.Events != 12 || object.Users != 12 || object.Set == object.LiveSet ||
		object.All.Moved != 6 || object.Changes["category-fan"].Moved != 6 || object.Shadow["category-fan"].Fired != 6 || object.CostRatio != nil {
		t.Errorf("%s", text)
	}
	never := file(t, "never.yaml", strings.Replace(string(shop), "category_views[event.properties.category] >= 4", "category_views[event.properties.category] >= 50", 1))
	bags("w", 0, 3)
	if text := shadowed(never, "w"); !strings.Contains(text, "lost    w") || !strings.Contains(text, "No category-fan offer: ") || strings.Contains(text, "is not in the set") {
		t.Error(text)
	} else {
		t.Log(text)
	}
	if text := offerctl(t, "shadow", changed, "--nats", url, "--for", "1ms"); !strings.Contains(text, "0 events, 18 users followed") {
		t.Error(text)
	}
	if text, code := ran(t, "shadow", changed, "--nats", url, "--overdue", "later"); code != 2 || !strings.Contains(text, "drop, now") {
		t.Errorf("exit %d: %s", code, text)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	out := &heard{came: make(chan struct{}, 1)}
	if code := run(ctx, []string{"shadow", changed, "--nats", url}, stdio{strings.NewReader(""), out, out}); code != 1 {
		t.Errorf("interrupted at once: exit %d: %s", code, out.text.String())
	}
}
