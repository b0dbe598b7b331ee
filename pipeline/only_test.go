package pipeline

import (
	"bytes"
	"fmt"
	"testing"

	"offerstream/pipeline/campaign"
)

// A partitionLog is the log of the one partition of a deployment, whose fold sends mails
// to itself.
type partitionLog struct {
	fold     *Fold
	users    Memory
	messages []Message
	offers   []string
}

// add folds a message, then those that its mails make.
func (l *partitionLog) add(t *testing.T, kind Kind, data []byte) {
	t.Helper()
	n := uint64(len(l.messages)) + 1
	m := Message{Seq: n, Stored: 1_767_225_600_000_000_000 + int64(n)*1e9, Kind: kind, Data: data}
	l.messages = append(l.messages, m)
	if pack := l.apply(t, m, ""); len(pack) > 0 {
		l.add(t, From, pack)
	}
}

// apply folds a message, and returns a pack of the mails of its steps. With a user only
// that one's offers are listed.
func (l *partitionLog) apply(t *testing.T, m Message, user string) (pack []byte) {
	t.Helper()
	if err := l.fold.Begin(m); err != nil {
		t.Fatal(err)
	}
	for {
		more, err := l.fold.Next()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range l.fold.Effects() {
			switch {
			case e.Mail != nil:
				pack = AppendPacked(pack, e.Pos, e.Mail)
			case e.Offer != nil && (user == "" || e.Offer.Entity() == user):
				l.offers = append(l.offers, fmt.Sprint(e.Offer.Entity(), " ", e.Offer.Campaign, " ", e.Offer.Key, " ", string(e.Offer.Data)))
			}
		}
		if !more {
			return pack
		}
	}
}

func newPartitionLog(t *testing.T, set *Set) *partitionLog {
	t.Helper()
	l := &partitionLog{users: Memory{}}
	var err error
	if l.fold, err = NewFold(Cursor{Set: set.hash}, func(string) (*Set, error) { return set, nil }, l.users); err != nil {
		t.Fatal(err)
	}
	l.fold.Partition(0, 1)
	return l
}

// TestOnlyAnswers: a fold of one user of a live log takes the answers, grants and records
// that the log has for the user, though the questions have other numbers in it.
func TestOnlyAnswers(t *testing.T) {
	t.Parallel()
	def, err := campaign.ParseDefinition(bytes.ReplaceAll([]byte(`{"engine":5,"clock":"broker","lateness":3600000000000,
"forget":{"anonymous":3600000000000000,"known":3600000000000000},
"bounds":{"entries":256,"keys":64,"user_entries":65536,"user_bytes":262144,"absences":64,"item_bytes":4194304},
"items":[{"kind":"product","key":"id"}],
"features":[{"name":"n","on":["View"],"agg":"count"},{"name":"views","per":"product","on":["View"],"agg":"count"}],
"campaigns":[
{"id":"ask","on":["View"],"if":["views >= 1"],"budget":{"offers":4},"offer":{"channel":"web","kind":"service","data":"{{ [n, views] }}"}}]}`), []byte("\n"), nil))
	if err != nil {
		t.Fatal(err)
	}
	set, problems := Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	all := newPartitionLog(t, set)
	n := 0
	pack := func(events ...string) {
		var b []byte
		for _, e := range events {
			n++
			b = append(fmt.Appendf(b, `{"messageId":"m%d","receivedAt":"2026-01-01T00:00:00Z",%s}`, n, e), '\n')
		}
		all.add(t, In, b)
	}
	view := func(who string) string { return `"type":"track","event":"View",` + who + `,"properties":{"id":"p1"}` }
	bob, ada, visitor := `"userId":"bob"`, `"userId":"ada"`, `"anonymousId":"a"`
	pack(view(visitor), view(bob), view(ada), view(bob), view(ada))
	pack(`"type":"identify","userId":"bob","anonymousId":"b"`, `"type":"identify","userId":"ada","anonymousId":"a"`)
	pack(view(bob), view(ada), view(visitor))
	for _, key := range []string{"u:ada", "u:bob"} {
		one := newPartitionLog(t, set)
		one.fold.Only(key)
		for _, m := range all.messages {
			one.apply(t, m, key)
		}
		var want []string
		for _, o := range all.offers {
			if o[:len(key)+1] == key+" " {
				want = append(want, o)
			}
		}
		if len(want) == 0 || fmt.Sprint(one.offers) != fmt.Sprint(want) {
			t.Errorf("%s alone got %q, in the whole log %q", key, one.offers, want)
		}
		if a, b := all.users[key].AppendBinary(nil), one.users[key].AppendBinary(nil); len(one.users[key].waiting) != 0 || len(all.users[key].waiting) != 0 || !bytes.Equal(a, b) {
			t.Errorf("%s alone is %x, in the whole log %x", key, b, a)
		}
	}
}
