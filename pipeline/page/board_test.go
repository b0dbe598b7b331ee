package page

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// A naive is a board that looks at everything each time.
type naive struct {
	all    []*naiveOffer
	became map[string]string
	early  map[string]bool
	paused map[string]bool
	noAds  bool
}

type naiveOffer struct {
	Offer
	key            string
	redeemed, gone bool
}

func (n *naive) put(key string, o Offer, now int64) {
	if u := n.became[key]; u != "" {
		key = u
	}
	mine := &naiveOffer{Offer: o, key: key, redeemed: n.early[o.ID], gone: o.Until <= now}
	delete(n.early, o.ID)
	n.all = append(n.all, mine)
	n.latest(key, o.Campaign)
}

// latest leaves one open offer of a campaign, the latest.
func (n *naive) latest(key, campaign string) {
	var last *naiveOffer
	for _, o := range n.all {
		if o.key == key && o.Campaign == campaign && (last == nil || o.Seq > last.Seq) && (!o.gone || o == n.all[len(n.all)-1]) {
			last = o
		}
	}
	for _, o := range n.all {
		if o.key == key && o.Campaign == campaign && o != last {
			o.gone = true
		}
	}
}

func (n *naive) merge(visitor, user string) {
	n.became[visitor] = user
	var campaigns []string
	for _, o := range n.all {
		if o.key == visitor && !o.gone {
			o.key = user
			campaigns = append(campaigns, o.Campaign)
		}
	}
	for _, c := range campaigns {
		var last *naiveOffer
		for _, o := range n.all {
			if o.key == user && o.Campaign == c && !o.gone && (last == nil || o.Seq > last.Seq) {
				last = o
			}
		}
		for _, o := range n.all {
			o.gone = o.gone || o.key == user && o.Campaign == c && o != last
		}
	}
}

func (n *naive) redeem(id string, is bool) {
	for _, o := range n.all {
		if o.ID == id && !o.gone {
			o.redeemed = is
			return
		}
	}
	n.early[id] = is
}

func (n *naive) open(key string, now int64) (ids []string) {
	var mine []*naiveOffer
	for _, o := range n.all {
		o.gone = o.gone || o.Until <= now
		base, _, _ := strings.Cut(o.Campaign, "/")
		if o.key == key && !o.gone && !o.redeemed && !n.paused[o.Campaign] && !n.paused[base] && !(n.noAds && o.Advertising) {
			mine = append(mine, o)
		}
	}
	slices.SortFunc(mine, func(a, b *naiveOffer) int { return int(a.Seq) - int(b.Seq) })
	for _, o := range mine {
		ids = append(ids, o.ID)
	}
	return ids
}

// TestBoard compares a board with one that looks at everything each time, over random
// records, and what pages are told with what they can see.
func TestBoard(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for run := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, run))
		b, n := NewBoard(Limits{Each: 1000, Offers: 1000, Bytes: 1 << 30, Others: 1000}), &naive{became: map[string]string{}, early: map[string]bool{}, paused: map[string]bool{}}
		keys := []string{"u:ann", "u:bob", "a:1", "a:2", "a:3"}
		campaigns := []string{"x", "y", "z/1", "z/2"}
		told := map[string][]string{} // by key: what its page has
		seq, now := uint64(0), int64(1000)
		tell := func(changes []Change) {
			for _, c := range changes {
				switch {
				case c.Login:
					delete(told, c.Key)
				case c.Why == "":
					if slices.Contains(told[c.Key], c.Offer.ID) {
						t.Fatalf("run %d: %s appears twice", run, c.Offer.ID)
					}
					told[c.Key] = append(told[c.Key], c.Offer.ID)
				default:
					i := slices.Index(told[c.Key], c.Offer.ID)
					if i < 0 {
						t.Fatalf("run %d: %s goes, and was not there", run, c.Offer.ID)
					}
					told[c.Key] = slices.Delete(told[c.Key], i, i+1)
				}
			}
		}
		for range 150 {
			now += rng.Int64N(20)
			tell(b.Expire(now))
			for _, k := range keys {
				n.open(k, now)
			}
			some := fmt.Sprint("o", 1+rng.Uint64N(seq+2))
			switch what := rng.IntN(12); {
			case what < 6:
				seq++
				key := keys[rng.IntN(len(keys))]
				o := Offer{ID: fmt.Sprint("o", seq), Campaign: campaigns[rng.IntN(len(campaigns))], Advertising: rng.IntN(2) == 0, Seq: seq, Until: now - 20 + rng.Int64N(200)}
				n.put(key, o, now)
				tell(b.Put(key, o, now))
			case what == 6:
				visitor, user := keys[2+rng.IntN(3)], keys[rng.IntN(2)]
				if n.became[visitor] == "" {
					n.merge(visitor, user)
					tell(b.Merge(visitor, user))
				}
			case what < 9:
				n.redeem(some, true)
				tell(b.Redeem(some))
			case what == 9:
				n.redeem(some, false)
				tell(b.Void(some))
			default:
				n.paused, n.noAds = map[string]bool{}, rng.IntN(4) == 0
				var ids []string
				for _, id := range append(campaigns, "z") {
					if rng.IntN(4) == 0 {
						n.paused[id], ids = true, append(ids, id)
					}
				}
				tell(b.Pause(ids, n.noAds))
			}
			for _, k := range keys {
				var got []string
				for _, o := range b.Open(nil, k, now) {
					got = append(got, o.ID)
				}
				if want := n.open(k, now); !slices.Equal(got, want) {
					t.Fatalf("run %d: %s sees %q, want %q", run, k, got, want)
				}
				if have := slices.Sorted(slices.Values(told[k])); !slices.Equal(have, slices.Sorted(slices.Values(got))) {
					t.Fatalf("run %d: the page of %s has %q, and can see %q", run, k, have, got)
				}
			}
		}
		offers, users, bytes := b.Size()
		count := 0
		for _, all := range b.open {
			count += len(all)
		}
		if offers != count || users != len(b.open) || b.arrived.Len() != offers || len(b.due) != offers || bytes != offers*overhead {
			t.Fatalf("run %d: %d offers of %d users in %d bytes; by key %d, by arrival %d, by time %d", run, offers, users, bytes, count, b.arrived.Len(), len(b.due))
		}
	}
}

// TestBoardLimits: what came first goes, and is counted.
func TestBoardLimits(t *testing.T) {
	put := func(b *Board, key string, n int) (gone []string) {
		for i := range n {
			for _, c := range b.Put(key, Offer{ID: fmt.Sprint(key, i), Campaign: fmt.Sprint(i), Seq: uint64(i + 1), Until: 100, Body: make([]byte, 100)}, 1) {
				if c.Why == Dropped {
					gone = append(gone, c.Offer.ID)
				}
			}
		}
		return gone
	}
	b := NewBoard(Limits{Each: 3, Offers: 100, Bytes: 1 << 20, Others: 2})
	if gone := put(b, "u:a", 5); !slices.Equal(gone, []string{"u:a0", "u:a1"}) || b.DroppedBy("each") != 2 {
		t.Errorf("each: %q", gone)
	}
	b = NewBoard(Limits{Each: 100, Offers: 3, Bytes: 1 << 20, Others: 2})
	put(b, "u:a", 2)
	if gone := put(b, "u:b", 3); !slices.Equal(gone, []string{"u:a0", "u:a1"}) || b.DroppedBy("offers") != 2 {
		t.Errorf("offers: %q", gone)
	}
	b = NewBoard(Limits{Each: 100, Offers: 100, Bytes: 2 * (100 + overhead), Others: 2})
	if gone := put(b, "u:a", 3); !slices.Equal(gone, []string{"u:a0"}) || b.DroppedBy("bytes") != 1 {
		t.Errorf("bytes: %q", gone)
	}
	for i := range 3 {
		b.Merge(fmt.Sprint("a:", i), "u:x")
		b.Redeem(fmt.Sprint("none", i))
	}
	if b.DroppedBy("others") != 2 || b.User("a:0") != "" || b.User("a:2") != "u:x" {
		t.Errorf("others: %d", b.DroppedBy("others"))
	}
}
