package page

import (
	"cmp"
	"container/heap"
	"container/list"
	"slices"
	"strings"
)

// An Offer is an open web offer, as far as pages are concerned. It never changes.
type Offer struct {
	ID          string
	Campaign    string // its id; of a row campaign/row
	Advertising bool
	Seq         uint64 // of its message in OFFERS
	Until       int64  // from when on it is not open, nanoseconds since 1970
	Body        []byte // what the page is given, JSON
}

// Why an offer is taken back.
const (
	Expired    = "expired"
	Redeemed   = "redeemed"   // its coupon was redeemed
	Superseded = "superseded" // its campaign has sent a later one
	Paused     = "paused"     // its campaign, or advertising on pages, is paused; it may come back
	Dropped    = "dropped"    // the board is full
	Ended      = "ended"      // while the page was away: expired or superseded
)

// Limits bound a Board.
type Limits struct {
	Each   int // open offers of one user or visitor
	Offers int // open offers in all
	Bytes  int // of these, as size counts
	Others int // visitors that have become users, and redeemed offers that have not come yet, of each
}

// DefaultLimits are the limits of a gateway.
var DefaultLimits = Limits{Each: 16, Offers: 1_000_000, Bytes: 256 << 20, Others: 1 << 17}

// overhead is about what an offer costs on the board beside its body, in bytes.
const overhead = 500

// A Change is what happens to the offers that one user or visitor can see.
type Change struct {
	Key   string // of the user or visitor, as an entity's
	Offer *Offer // that appears, or is taken back
	Why   string // it is taken back; "": it appears
	Login bool   // the visitor has become a user; there is no offer
}

// A Board holds the open web offers of all users and visitors. It is a function of the
// records that it is given and of the time: it reads no clock and does no input or output.
// It is for one goroutine at a time.
//
// What a paused campaign has sent, and what is redeemed, stays on the board and is not
// seen: it comes back if the campaign is resumed or the redemption is undone.
type Board struct {
	lim      Limits
	open     map[string][]*entry // by key; in the order of OFFERS
	byID     map[string]*entry
	due      dues
	arrived  list.List        // of *entry, those that came first in front
	users    recent[string]   // visitors that have become users: the user's key
	redeemed recent[struct{}] // ids of offers that have not come yet
	paused   map[string]bool  // campaigns and rows
	noAds    bool             // advertising on pages is paused
	bytes    int
	dropped  map[string]uint64 // by limit
}

type entry struct {
	Offer
	key      string
	redeemed bool
	at       int // in dues
	order    *list.Element
}

func (e *entry) size() int { return len(e.Body) + overhead }

// NewBoard returns an empty board.
func NewBoard(lim Limits) *Board {
	b := &Board{lim: lim, open: map[string][]*entry{}, byID: map[string]*entry{}, dropped: map[string]uint64{}}
	b.users.most, b.redeemed.most = lim.Others, lim.Others
	return b
}

// Size is the number of open offers, of users and visitors who have any, and of bytes.
func (b *Board) Size() (offers, keys, bytes int) { return len(b.byID), len(b.open), b.bytes }

// DroppedBy is how many entries a limit has cost: each, offers, bytes, others.
func (b *Board) DroppedBy(limit string) uint64 { return b.dropped[limit] }

// User is the key of the user whom a visitor has become; "": none, as far as is known.
func (b *Board) User(visitor string) string {
	u, _ := b.users.get(visitor)
	return u
}

// Open appends the offers that a user or visitor can see, in the order of OFFERS.
func (b *Board) Open(dst []*Offer, key string, now int64) []*Offer {
	for _, e := range b.open[key] {
		if b.seen(e) && now < e.Until {
			dst = append(dst, &e.Offer)
		}
	}
	return dst
}

// Hidden says why a user or visitor cannot see an offer that he could see before.
func (b *Board) Hidden(key, id string) string {
	e := b.byID[id]
	switch {
	case e == nil || e.key != key:
		return Ended
	case e.redeemed:
		return Redeemed
	case b.pauses(e):
		return Paused
	}
	return Expired
}

func (b *Board) seen(e *entry) bool { return !e.redeemed && !b.pauses(e) }

func (b *Board) pauses(e *entry) bool {
	if e.Advertising && b.noAds || b.paused[e.Campaign] {
		return true
	}
	base, _, row := strings.Cut(e.Campaign, "/")
	return row && b.paused[base]
}

// Put takes an offer to a user or visitor.
func (b *Board) Put(key string, o Offer, now int64) []Change {
	if user := b.User(key); user != "" {
		key = user
	}
	if b.byID[o.ID] != nil {
		return nil
	}
	e := &entry{Offer: o, key: key}
	_, e.redeemed = b.redeemed.take(o.ID)
	ch, latest := b.supersede(nil, key, e)
	if !latest || o.Until <= now {
		return ch
	}
	heap.Push(&b.due, e)
	e.order = b.arrived.PushBack(e)
	b.byID[e.ID] = e
	b.bytes += e.size()
	return b.bound(b.insert(ch, e))
}

// supersede takes back what another offer of the same campaign replaces. latest is false if
// there is a later one already.
func (b *Board) supersede(ch []Change, key string, by *entry) (_ []Change, latest bool) {
	for _, e := range b.open[key] {
		if e.Campaign != by.Campaign {
			continue
		}
		if e.Seq > by.Seq {
			return ch, false
		}
		return b.remove(ch, e, Superseded), true // there is one of a campaign at most
	}
	return ch, true
}

// insert puts an entry among those of its key.
func (b *Board) insert(ch []Change, e *entry) []Change {
	all := b.open[e.key]
	i, _ := slices.BinarySearchFunc(all, e.Seq, func(x *entry, seq uint64) int { return cmp.Compare(x.Seq, seq) })
	b.open[e.key] = slices.Insert(all, i, e)
	if b.seen(e) {
		ch = append(ch, Change{Key: e.key, Offer: &e.Offer})
	}
	if len(b.open[e.key]) > b.lim.Each {
		b.dropped["each"]++
		ch = b.remove(ch, b.open[e.key][0], Dropped)
	}
	return ch
}

// bound removes what came first while there is too much.
func (b *Board) bound(ch []Change) []Change {
	for len(b.byID) > b.lim.Offers || b.bytes > b.lim.Bytes {
		limit := "offers"
		if b.bytes > b.lim.Bytes {
			limit = "bytes"
		}
		b.dropped[limit]++
		ch = b.remove(ch, b.arrived.Front().Value.(*entry), Dropped)
	}
	return ch
}

// leave removes an entry from those of its key.
func (b *Board) leave(e *entry) {
	all := b.open[e.key]
	if all = slices.DeleteFunc(all, func(x *entry) bool { return x == e }); len(all) == 0 {
		delete(b.open, e.key)
		return
	}
	b.open[e.key] = all
}

func (b *Board) remove(ch []Change, e *entry, why string) []Change {
	if b.seen(e) {
		ch = append(ch, Change{Key: e.key, Offer: &e.Offer, Why: why})
	}
	b.leave(e)
	heap.Remove(&b.due, e.at)
	b.arrived.Remove(e.order)
	delete(b.byID, e.ID)
	b.bytes -= e.size()
	return ch
}

// Merge makes a visitor a user: what he can see is the user's from now on.
func (b *Board) Merge(visitor, user string) []Change {
	if visitor == user {
		return nil
	}
	if b.users.put(visitor, user) {
		b.dropped["others"]++
	}
	ch := []Change{{Key: visitor, Login: true}}
	for _, e := range slices.Clone(b.open[visitor]) {
		var latest bool
		if ch, latest = b.supersede(ch, user, e); !latest {
			e.redeemed = true // nobody sees that it goes
			b.remove(nil, e, Superseded)
			continue
		}
		b.leave(e)
		e.key = user
		ch = b.insert(ch, e)
	}
	return ch
}

// Redeem takes an offer back whose coupon was redeemed.
func (b *Board) Redeem(id string) []Change {
	e := b.byID[id]
	if e == nil {
		if b.redeemed.put(id, struct{}{}) {
			b.dropped["others"]++
		}
		return nil
	}
	seen := b.seen(e)
	e.redeemed = true
	if seen {
		return []Change{{Key: e.key, Offer: &e.Offer, Why: Redeemed}}
	}
	return nil
}

// Void undoes Redeem.
func (b *Board) Void(id string) []Change {
	e := b.byID[id]
	if e == nil {
		b.redeemed.take(id)
		return nil
	}
	if was := e.redeemed; !was {
		return nil
	}
	e.redeemed = false
	if b.seen(e) {
		return []Change{{Key: e.key, Offer: &e.Offer}}
	}
	return nil
}

// Pause replaces what is paused: campaigns and rows, and whether all advertising on pages is.
func (b *Board) Pause(campaigns []string, noAds bool) (ch []Change) {
	was := Board{paused: b.paused, noAds: b.noAds}
	b.paused, b.noAds = make(map[string]bool, len(campaigns)), noAds
	for _, id := range campaigns {
		b.paused[id] = true
	}
	for at := b.arrived.Front(); at != nil; at = at.Next() {
		e := at.Value.(*entry)
		switch before, after := was.seen(e), b.seen(e); {
		case before && !after:
			ch = append(ch, Change{Key: e.key, Offer: &e.Offer, Why: Paused})
		case after && !before:
			ch = append(ch, Change{Key: e.key, Offer: &e.Offer})
		}
	}
	return ch
}

// Expire removes what is not open any more.
func (b *Board) Expire(now int64) (ch []Change) {
	for len(b.due) > 0 && b.due[0].Until <= now {
		ch = b.remove(ch, b.due[0], Expired)
	}
	return ch
}

// Due is when the next offer expires; ok is false if there is none.
func (b *Board) Due() (at int64, ok bool) {
	if len(b.due) == 0 {
		return 0, false
	}
	return b.due[0].Until, true
}

// dues are the offers by when they expire: a heap.
type dues []*entry

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].Until < d[j].Until }
func (d dues) Swap(i, j int)      { d[i], d[j] = d[j], d[i]; d[i].at, d[j].at = i, j }
func (d *dues) Push(x any)        { e := x.(*entry); e.at = len(*d); *d = append(*d, e) }
func (d *dues) Pop() any {
	all := *d
	e := all[len(all)-1]
	all[len(all)-1] = nil
	*d = all[:len(all)-1]
	return e
}

// recent is a map that forgets what was put first.
type recent[V any] struct {
	most  int
	of    map[string]V
	order []string // may have keys that were taken
}

func (r *recent[V]) get(k string) (v V, ok bool) {
	v, ok = r.of[k]
	return v, ok
}

// take removes what it returns.
func (r *recent[V]) take(k string) (v V, ok bool) {
	v, ok = r.of[k]
	delete(r.of, k)
	return v, ok
}

// put reports whether something was forgotten.
func (r *recent[V]) put(k string, v V) (forgot bool) {
	if r.of == nil {
		r.of = map[string]V{}
	}
	if _, ok := r.of[k]; !ok {
		r.order = append(r.order, k)
	}
	r.of[k] = v
	for len(r.order) > r.most {
		if _, ok := r.of[r.order[0]]; ok {
			forgot = true
		}
		delete(r.of, r.order[0])
		r.order = r.order[1:]
	}
	return forgot
}
