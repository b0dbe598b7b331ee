package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/event"
)

// shopIn posts events that give each of some users of a partition an offer, and
// returns when the offers are stored.
func shopIn(t *testing.T, n *node, p, users int, name string) {
	t.Helper()
	for u := 0; users > 0; u++ {
		user := fmt.Sprint(name, u)
		if event.Partition("u:"+user, n.conn.Partitions) != p {
			continue
		}
		users--
		for i := range 4 { // four bags
			postEvent(t, "http://"+n.addr+"/v1/track", fmt.Sprintf(`{"userId":%q,"event":"Product Viewed","properties":{"product_id":"b%d","category":"bag","brand":"acme","price":120}}`, user, i))
		}
	}
}

// TestAcceptCommand lets a partition stop because an offer is lost, runs the
// command that the stop's message names, and continues.
func TestAcceptCommand(t *testing.T) {
	t.Parallel()
	const p, chain = 3, "offers.web.3"
	n := startShop(t)
	url := n.natsURL()
	shopIn(t, n, p, 3, "ada")
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{"": "--partition is required", "--why x": "--partition is required", "--partition -1": "--partition is required", "--partition 99": "partitions 0 to 7", "--partition three": "three",
		"--partition 3 --why=": "--why takes", "--partition 3 --why " + strings.Repeat("x", maxWhy+1): "--why takes", "--partition 3 4": "unexpected argument", "3": "unexpected argument"} {
		if out, errs := fails(t, 2, append([]string{"accept", "--nats", url}, strings.Fields(args)...)...); !strings.Contains(errs, want) || strings.Contains(out, "accepted, as") {
			t.Errorf("%s: %s", args, errs)
		}
	}
	end := func() uint64 {
		t.Helper()
		_, end, err := n.conn.Extent(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return end
	}
	before := end()
	if _, errs := fails(t, 1, "accept", "--partition", "3", "--yes", "--nats", url); !strings.Contains(errs, "these workers live: ") || !strings.Contains(errs, "stop all of them") {
		t.Errorf("beside a worker: %s", errs)
	}
	if err := n.rest(); err != nil {
		t.Fatal(err)
	}

	offers, err := n.conn.JS.Stream(t.Context(), n.conn.Names.OffersStream())
	if err != nil {
		t.Fatal(err)
	}
	gone, err := offers.GetLastMsgForSubject(t.Context(), chain)
	if err == nil {
		err = offers.DeleteMsg(t.Context(), gone.Sequence)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(n.opt.dir, "worker")
	stop := startMember(t, url, dir)
	s := statusOf(t, url, "a partition that has stopped", func(s statusJSON) bool { return len(s.Partitions[p].Stops) == 1 })
	wayOut := regexp.MustCompile("run `offerctl (accept [^`]*)`").FindStringSubmatch(s.Partitions[p].Stops[0].Why)
	if wayOut == nil {
		t.Fatalf("it does not say how to go on: %+v", s.Partitions[p].Stops)
	}
	said := strings.Fields(wayOut[1])
	if _, errs := fails(t, 1, append(said, "--yes")...); !strings.Contains(errs, "these workers live: ") {
		t.Errorf("beside the one that has stopped: %s", errs)
	}
	stop()

	if out, errs := fails(t, 1, said...); !strings.Contains(errs, "Accept the loss in partition 3, because: accepted by an operator? [y/N] nothing changed") || out != "" {
		t.Errorf("nobody says yes: %s%s", out, errs)
	}
	if _, errs := fails(t, 1, append(said, "--yes", "--dir", filepath.Join(dir, "none"))...); !strings.Contains(errs, "--dir: ") {
		t.Errorf("%s", errs)
	}
	if now := end(); now != before {
		t.Errorf("what was refused is in the log: it ends at message %d, not %d", now, before)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), said, stdio{strings.NewReader("yes\n"), &out, &errs}); code != 0 {
		t.Fatalf("exit %d: %s%s", code, out.String(), errs.String())
	}
	for _, want := range []string{
		fmt.Sprintf("lost: offer %s, record 3 of %s, from message %s: ", gone.Header.Get("ce-id"), chain, gone.Header.Get("Offerstream-S")),
		fmt.Sprintf("partition 3: accepted, as message %d of its log. The state has 12 events, starting from the log's beginning.\n", before+1),
		"  never sent: 1 offer that the log yields and no chain has\n", "  perhaps received again: 2 offers of " + chain + ", in records 1 to 2, with the numbers and ids that they had\n",
		"  perhaps sent again: what waits for its time, for 3 users, ", // still-looking waits for each
		"Start the workers again.\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	mark, err := offers.GetLastMsgForSubject(t.Context(), chain)
	if err != nil || mark.Header.Get("ce-type") != "offerstream.accepted" || len(mark.Data) > 0 {
		t.Fatalf("the mark is %+v, %v", mark, err)
	}
	number, err := strconv.ParseUint(mark.Header.Get("Offerstream-N"), 10, 64)
	if n := number; err != nil || n <= pipeline.AfterAll(mark.Time.Add(-time.Minute).UnixNano()) || n > pipeline.AfterAll(mark.Time.UnixNano()) {
		t.Errorf("the mark is number %d, it was stored at %s, %v", number, mark.Time, err)
	}
	if said := fmt.Sprintf("  %s continues after record %d\n", chain, number); !strings.Contains(out.String(), said) {
		t.Errorf("%q is not in\n%s", said, out.String())
	}

	goOn := func(name string) {
		t.Helper()
		stop := startMember(t, url, dir)
		shopIn(t, n, p, 2, name)
		last := end()
		statusOf(t, url, "all applied", func(s statusJSON) bool { return s.OK && s.Partitions[p].Seq >= last })
		stop()
	}
	goOn("bea")
	var v audit.Verdict // on the mark and the offers after it
	if err := json.Unmarshal([]byte(offerctl(t, "verify", "--json", "--nats", url)), &v); err != nil || v.Wrong() != 0 || v.Trimmed != 3 || v.Stored != 3 {
		t.Errorf("%+v, %v", v, err)
	}

	// The log's beginning, and a message after the snapshot, are lost too.
	log, err := n.conn.JS.Stream(t.Context(), n.conn.Names.EventsStream(p))
	if err == nil {
		err = log.Purge(t.Context(), jetstream.WithPurgeSequence(before))
	}
	if err == nil {
		err = log.DeleteMsg(t.Context(), before+3)
	}
	if err != nil {
		t.Fatal(err)
	}
	last := end()
	why := "Platte & Netz, ein Verlust: 50%"
	answer := offerctl(t, "accept", "--partition", "3", "--why", why, "--yes", "--json", "--nats", url)
	var done audit.Accepted
	if err := json.Unmarshal([]byte(answer), &done); err != nil || strings.Count(answer, "\n") != 1 {
		t.Fatalf("%v: %s", err, answer)
	}
	lost := fmt.Sprintf("%d-%d", before+3, before+3)
	if done.Partition != p || done.Seq != last+1 || done.From != before+1 || done.Events != 12+7 || len(done.Skipped) != 1 || done.Skipped[0] != lost ||
		done.Chains["offers.web"] != done.After+1 || done.Stored["offers.web"].Offers != 4 || done.Stored["offers.web"].Last != number+2 {
		t.Errorf("%+v, the log ends at %d", done, last)
	}
	text := offerctl(t, "accept", "--partition", "3", "--why", why, "--yes", "--nats", url)
	if !strings.Contains(text, fmt.Sprintf("from a snapshot at message %d.\n", last+1)) || !strings.Contains(text, fmt.Sprintf("accepted, as message %d of its log", last+3)) {
		t.Errorf("%s", text)
	}
	goOn("eve")             // message last+2 is the mark that the first acceptance has sent to its own partition
	var again audit.Verdict // on the offers after the snapshot that it left
	if err := json.Unmarshal([]byte(offerctl(t, "verify", "--json", "--partition", "3", "--nats", url)), &again); err != nil || again.Wrong() != 0 || again.Applied != 8 || again.Partitions[0].From != last+3 {
		t.Errorf("%+v, %v", again, err)
	}
	if out := offerctl(t, "verify", "--partition", "3", "--nats", url); !strings.Contains(out, fmt.Sprintf("partition 3: from the snapshot at message %d on\n", last+3)) {
		t.Errorf("%s", out)
	}
	for _, args := range [][]string{{"--partition", "2", "--from-snapshot"}, {"--dir", filepath.Join(dir, "none")}} {
		if _, errs := fails(t, 1, append([]string{"verify", "--nats", url}, args...)...); !strings.Contains(errs, "there is no snapshot that fits the log") && !strings.Contains(errs, "a directory for a snapshot's state") {
			t.Errorf("%v: %s", args, errs)
		}
	}
}

// TestAcceptShowsGrants: the result says how many grants count again, and of what.
func TestAcceptShowsGrants(t *testing.T) {
	var out strings.Builder
	showAccepted(&out, audit.Accepted{Recounted: map[string]int{"c:rows/r1": 2, "p:spring": 1}, Unread: 7})
	for _, want := range []string{"counted again: 2 grants of the budget of rows/r1,", "counted again: 1 grant of the pool spring,", "not looked at: 7 grants,"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
}
