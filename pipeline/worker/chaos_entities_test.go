package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
)

// importCodes imports a file of codes, again and again until all are there, as somebody
// would whose command fails.
func (ch *chaos) importCodes(ctx context.Context, file int) {
	var codes strings.Builder
	for i := range chaosCodes {
		fmt.Fprintf(&codes, "code-%d-%d\n", file, i)
	}
	name := filepath.Join(ch.t.TempDir(), "codes.txt")
	if err := os.WriteFile(name, []byte(codes.String()), 0o600); err != nil {
		ch.note(err)
		return
	}
	for {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		out, err := exec.CommandContext(try, filepath.Join(ch.bin, "offerctl"), "coupons", "import", "spring", name, "--nats", ch.url).CombinedOutput()
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			ch.note(fmt.Errorf("offerctl coupons import: %w: %s", err, out))
			return
		}
		<-time.After(200 * time.Millisecond)
	}
}

// claims is the key of the visitor that the event says to be its user, or empty.
func (e *chaosEvent) claims() string {
	switch {
	case e.Type == "identify" && e.AnonymousID != "":
		return event.UserKey(e.AnonymousID, true)
	case e.Type == "alias":
		return event.UserKey(e.PreviousID, true)
	}
	return ""
}

// A person is a user or a visitor as the workers know them.
type person struct {
	view pipeline.User
	was  []string // keys of the visitors who have become this user
}

// applied asks the workers about each user, until all events are applied and nothing
// waits for another entity. It returns what they answered, and how many events were
// applied more than once.
func (ch *chaos) applied(users map[string]*logged) (people map[string]*person, doubled uint64) {
	t := ch.t
	for until := time.Now().Add(2 * time.Minute); ; <-time.After(100 * time.Millisecond) {
		var wrong []string
		people = ch.people(users, &wrong)
		doubled = 0
		for _, key := range slices.Sorted(maps.Keys(users)) {
			doubled += ch.judge(key, users, people, &wrong)
		}
		for i := range 8 {
			var item pipeline.Item
			if err := ch.ask(event.ItemKey("product", fmt.Sprint("p", i)), &item); err != nil || len(item.Sending) > 0 {
				wrong = append(wrong, fmt.Sprintf("product %d is sending %+v, %v", i, item.Sending, err))
			}
		}
		if len(wrong) == 0 || time.Now().After(until) {
			for _, w := range wrong[:min(len(wrong), 10)] {
				t.Error("in vain awaited: ", w)
			}
			return people, doubled
		}
	}
}

// people asks about all users.
func (ch *chaos) people(users map[string]*logged, wrong *[]string) map[string]*person {
	people := map[string]*person{}
	for _, key := range slices.Sorted(maps.Keys(users)) {
		p := &person{}
		if err := ch.ask(key, &p.view); err != nil {
			*wrong = append(*wrong, fmt.Sprintf("%s: %v", key, err))
		}
		people[key] = p
	}
	for key, p := range people {
		if u := people[p.view.Owner]; u != nil {
			u.was = append(u.was, key)
		}
	}
	return people
}

// judge compares what a worker knows of a user with the log. It returns how many events
// were applied more than once.
func (ch *chaos) judge(key string, users map[string]*logged, people map[string]*person, wrong *[]string) (doubled uint64) {
	say := func(format string, args ...any) {
		*wrong = append(*wrong, key+": "+fmt.Sprintf(format, args...))
	}
	p := people[key]
	if len(p.view.Claims) > 0 {
		say("it waits for the records of %q", p.view.Claims)
	}
	for _, e := range p.view.Pending {
		if e.Asks != "" || slices.Contains([]string{"gift", "treat", "rebate"}, e.Campaign) {
			say("pending: %+v", e)
		}
	}
	own := users[key]
	if p.view.Owner != "" || len(own.claimed) > 0 {
		if !slices.Contains(own.claimed, p.view.Owner) {
			say("it belongs to %q, claimed by %q", p.view.Owner, own.claimed)
		}
		return 0 // its user has what it did
	}
	want := *own
	for _, visitor := range p.was {
		want.events += users[visitor].events
		want.views += users[visitor].views
	}
	if p.view.Events != want.events || string(p.view.Features["seen"]) != fmt.Sprint(want.views) {
		say("%d events and %s views are applied, in the log are %d and %d, with those of %q", p.view.Events, p.view.Features["seen"], want.events, want.views, p.was)
	}
	return max(p.view.Events, want.events) - want.events
}

// ask asks the owner of an entity's partition about the entity.
func (ch *chaos) ask(key string, found any) error {
	a, err := ch.query(event.Partition(key, chaosPartitions), broker.Query{Key: key})
	if err != nil {
		return err
	}
	for _, one := range []json.RawMessage{a.User, a.Item, a.Pool} {
		if one != nil {
			return json.Unmarshal(one, found)
		}
	}
	return fmt.Errorf("nothing is known of %s", key)
}

func (ch *chaos) query(p int, q broker.Query) (a broker.Answer, err error) {
	data, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	m, err := ch.conn.NC.Request(ch.conn.Names.QuerySubject(p), data, 5*time.Second)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return a, err
	}
	if a.Error != "" {
		err = fmt.Errorf("%s", a.Error)
	}
	return a, err
}

// folded compares what the workers answered with plain folds of the logs.
func (ch *chaos) folded(people map[string]*person, folds map[int]*pipeline.Fold) {
	t := ch.t
	t.Helper()
	visitors := 0
	for _, key := range slices.Sorted(maps.Keys(people)) {
		is := people[key].view
		want, err := folds[event.Partition(key, chaosPartitions)].User(key)
		if err != nil {
			t.Fatal(err)
		}
		if is.Owner != want.Owner || is.Events != want.Events || string(is.Features["seen"]) != string(want.Features["seen"]) || !slices.Equal(is.Lists, want.Lists) {
			t.Errorf("%s: owner %q, %d events, %s views, lists %v; a fold of the log gives owner %q, %d events, %s views, lists %v", key,
				is.Owner, is.Events, is.Features["seen"], is.Lists, want.Owner, want.Events, want.Features["seen"], want.Lists)
		}
		if is.Owner != "" {
			visitors++
		}
	}
	if visitors == 0 {
		t.Error("no visitor has become a user: the test shows nothing")
	}
	t.Logf("people: %d, of whom %d visitors have become users", len(people), visitors)
}

// A given is what went out to users.
type given struct {
	offers map[string]int // by campaign
	price  int            // of the rebates
	codes  map[string]string
}

func newGiven() *given { return &given{offers: map[string]int{}, codes: map[string]string{}} }

// take counts an offer. A code that has gone out already is an error.
func (g *given) take(t *testing.T, o *pipeline.Offer) error {
	g.offers[o.Campaign]++
	var d struct {
		Code  string
		Price json.Number
	}
	if o.Campaign != "gift" && o.Campaign != "treat" && o.Campaign != "rebate" {
		return nil
	}
	if err := json.Unmarshal(o.Data, &d); err != nil {
		return err
	}
	if o.Campaign == "rebate" {
		price, err := d.Price.Int64()
		g.price += int(price)
		return err
	}
	if was := g.codes[d.Code]; was != "" || d.Code != o.Coupon.Code || !strings.HasPrefix(d.Code, "code-") {
		t.Errorf("offer %s has the code %q, the coupon %q; offer %q has it too", o.ID, d.Code, o.Coupon.Code, was)
	}
	g.codes[d.Code] = o.ID
	return nil
}

// spent compares what went out with what budgets and the pool say, and with what they
// allow.
func (ch *chaos) spent(g *given) {
	t := ch.t
	t.Helper()
	var pool pipeline.PoolState
	if err := ch.ask(pipeline.PoolKey("spring"), &pool); err != nil {
		t.Error(err)
	}
	budgets := map[string]pipeline.BudgetState{}
	for p := range chaosPartitions {
		var held pipeline.Holdings
		a, err := ch.query(p, broker.Query{Held: true})
		if err == nil {
			err = json.Unmarshal(a.Held, &held)
		}
		if err != nil {
			t.Error(err)
		}
		maps.Copy(budgets, held.Budgets)
	}
	if b := budgets["gift"]; b.Spent != float64(g.offers["gift"]) || b.Spent > chaosGifts || b.Spent == 0 {
		t.Errorf("%d gifts went out, the budget says %+v", g.offers["gift"], b)
	}
	if b := budgets["rebate"]; b.Spent != float64(g.price) || b.Spent > chaosRebates || b.Spent == 0 {
		t.Errorf("rebates of %d went out, the budget says %+v", g.price, b)
	}
	if pool.Imported != 2*chaosCodes || pool.Given != uint64(len(g.codes)) || pool.Given+pool.Left != pool.Imported {
		t.Errorf("%d codes went out, the pool says %+v", len(g.codes), pool)
	}
	t.Logf("by campaign: %v; budgets %+v, pool %+v", g.offers, budgets, pool)
	for _, id := range chaosGallery {
		if g.offers[id] == 0 {
			t.Logf("no offer of %s", id)
		}
	}
}
