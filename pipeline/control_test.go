package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
)

// A logged is a fold of a log that a test writes message by message, one second
// apart, under clock: broker.
type logged struct {
	t      *testing.T
	f      *Fold
	seq    uint64
	offers []string // campaign, user and data of each offer
}

func newLogged(t *testing.T, sets ...*Set) *logged {
	t.Helper()
	byHash := map[string]*Set{}
	for _, s := range sets {
		byHash[s.hash] = s
	}
	f, err := NewFold(Cursor{}, func(hash string) (*Set, error) { return byHash[hash], nil }, Memory{})
	if err != nil {
		t.Fatal(err)
	}
	l := &logged{t: t, f: f}
	l.live(sets[0])
	return l
}

func (l *logged) message(kind Kind, data string) {
	l.t.Helper()
	l.seq++
	if err := l.f.Begin(Message{Seq: l.seq, Stored: int64(l.seq) * 1e9, Kind: kind, Data: []byte(data)}); err != nil {
		l.t.Fatal(err)
	}
	for more := true; more; {
		var err error
		if more, err = l.f.Next(); err != nil {
			l.t.Fatal(err)
		}
		for _, e := range l.f.Effects() {
			l.offers = append(l.offers, strings.TrimSpace(fmt.Sprint(e.Offer.Campaign, " ", e.Offer.User, " ", string(e.Offer.Data))))
		}
	}
}

func (l *logged) live(set *Set) {
	l.t.Helper()
	l.message(Control, fmt.Sprintf(`{"set":%q,"engine":%d}`, set.hash, set.def.Engine))
}

func (l *logged) pause(names string) {
	l.t.Helper()
	l.message(Control, fmt.Sprintf(`{"paused":[%s],"engine":%d}`, names, Engine))
}

func (l *logged) event(user, name, props string) {
	l.t.Helper()
	l.message(In, fmt.Sprintf(`{"type":"track","event":%q,"userId":%q,"messageId":"m%d","properties":{%s}}`, name, user, l.seq, props))
}

// want checks the offers since the last call, and the outcomes of a campaign.
func (l *logged) want(offers, campaign, outcomes string) {
	l.t.Helper()
	if got := strings.Join(l.offers, ", "); got != offers {
		l.t.Errorf("after message %d the offers are %q, want %q", l.seq, got, offers)
	}
	l.offers = nil
	counts, _ := l.f.Counts()
	if got := fmt.Sprint(nonzero(ints(outcomesOf(counts[campaign])))); got != "map["+outcomes+"]" {
		l.t.Errorf("after message %d: %s %s, want %s", l.seq, campaign, got, outcomes)
	}
}

// resume continues from the cursor, as another worker does.
func (l *logged) resume() {
	l.t.Helper()
	b, err := l.f.Cursor().JSON()
	if err != nil {
		l.t.Fatal(err)
	}
	cursor, err := ReadCursor(b)
	if err != nil {
		l.t.Fatal(err)
	}
	f, err := NewFold(cursor, l.f.sets, l.f.ents)
	if err != nil {
		l.t.Fatal(err)
	}
	for key, e := range l.f.ents.(Memory) {
		if e.Due() != NoDue {
			f.Schedule(e.Due(), key)
		}
	}
	l.f = f
}

// TestPause checks what an operator's pause stops: triggers, and what is pending
// when it is due, by the campaign's id or that of a row; and that it lasts over a
// change of sets and over a restart, until a control message without it.
func TestPause(t *testing.T) {
	set := setOf(t, sends("cart", "", `"on":["Add"],"unless":{"on":["Order"],"within":5000000000}`),
		sends("rows", "row.id", `"on":["View"],"rows":[{"id":"a","values":{"id":"a"}},{"id":"b","values":{"id":"b"}}],"limits":[{"max":9}]`))
	other := setOf(t, sends("cart", "", `"on":["Add"],"unless":{"on":["Order"],"within":5000000000}`), sends("more", "", `"on":["View"]`))
	l := newLogged(t, set, other)
	l.event("u", "Add", "")
	l.pause(`"cart","rows/b","unknown"`)
	l.event("v", "Add", "")
	l.want("", "cart", "evaluated:2 paused:1 pending:1")
	l.event("u", "View", "")
	l.want(`rows/a u "a"`, "rows/b", "evaluated:1 paused:1")
	l.resume()
	l.message(Tick, `{"at":"1970-01-01T00:01:00Z"}`)
	l.message(Tick, `{"at":"1970-01-01T00:01:00Z"}`)
	l.want("", "cart", "paused:1 pending:-1") // the counts are those of the second fold, to which the evaluation is older
	l.live(other)
	l.event("u", "Add", "")
	l.want("", "cart", "evaluated:1 paused:2 pending:-1")
	l.pause("")
	l.event("w", "Add", "")
	l.want("", "cart", "evaluated:2 paused:2")
	l.message(Tick, `{"at":"1970-01-01T00:01:00Z"}`)
	for range 5 {
		l.message(Tick, `{"at":"1970-01-01T00:01:00Z"}`)
	}
	l.want("cart w", "cart", "evaluated:2 fired:1 paused:2 pending:-1")
	if err := l.f.Begin(Message{Seq: l.seq + 1, Stored: 1e12, Kind: Control, Data: fmt.Appendf(nil, `{"paused":[7],"engine":%d}`, Engine)}); err == nil {
		t.Error("a pause of a campaign without a name is accepted")
	}
}

// TestFacts checks which facts a partition keeps: of each key the newest by the
// time that it was given, then by the place in the log; none that the set does not
// declare; and at most so many keys.
func TestFacts(t *testing.T) {
	def, err := campaign.ParseDefinition((&scene{campaigns: []string{sends("c", "facts.weather[event.properties.city].dust", `"on":["Go"]`)}}).set())
	if err != nil {
		t.Fatal(err)
	}
	def.Clock = campaign.ClockBroker
	def.Facts = []campaign.Fact{{Name: "weather", Fields: []campaign.FactField{{Name: "dust", Type: campaign.FactNumber}}, MaxAge: 20e9}}
	l := newLogged(t, mustCompile(t, def))
	fact := func(name, key string, dust int, given string) {
		l.message(In, fmt.Sprintf(`{"type":"fact","fact":%q,"key":%q,"values":{"dust":%d},"timestamp":"1970-01-01T00:00:%sZ","messageId":"f%d"}`, name, key, dust, given, l.seq))
	}
	ask := func(want string) {
		t.Helper()
		l.event("u", "Go", `"city":"seoul"`)
		if want != "" {
			want = "c u " + want
		}
		if got := strings.Join(l.offers, ", "); got != want {
			t.Errorf("after message %d the offers are %q, want %q", l.seq, got, want)
		}
		l.offers = nil
	}
	ask("")
	fact("weather", "seoul", 10, "03")
	ask("10")
	fact("weather", "seoul", 20, "02") // given earlier
	fact("weather", "busan", 30, "05")
	fact("wether", "seoul", 40, "05")
	ask("10")
	l.resume()
	ask("10")
	fact("weather", "seoul", 50, "03") // of two given at one time, the later in the log
	ask("50")
	for l.seq < 22 {
		l.message(Tick, "{}")
	}
	ask("") // given 20 seconds ago
	if l.f.Undeclared() != 0 || l.f.ents.(Memory)["f:wether:seoul"] != nil {
		t.Error("a fact that is not declared is kept")
	}
	count := l.f.ents.(Memory)["f:weather"]
	if count.fact.keys != 2 {
		t.Errorf("%d keys are counted, want 2", count.fact.keys)
	}
	count.fact.keys = mostFactKeys
	fact("weather", "daegu", 60, "59")
	if _, features := l.f.Counts(); l.f.ents.(Memory)["f:weather:daegu"] != nil || features.Bounds != 1 {
		t.Error("a fact has more keys than allowed, or the bound is not counted")
	}
}
