package worker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
	"offerstream/pipeline/zone"
)

// What holds over all partitions, once everything is quiet.

// The kinds of mails that the simulation knows (pipeline/mail.go).
const (
	simRecipient = 3
	simSpend     = 4
	simGranted   = 5
	simClaim     = 6
	simRecord    = 7
	simRefused   = 8

	simKeep = 3 // of what a spend says
)

// A simLetter is a decoded mail.
type simLetter struct {
	kind     byte
	to, from string
	now      int64
	body     value.Reader
}

func readLetter(b []byte) (l simLetter) {
	r := value.Reader{B: b}
	l = simLetter{now: r.Int(), kind: r.Byte(), to: r.Text(), from: r.Text()}
	l.body = r
	return l
}

// A simGrant is a grant of a budget or pool, or its return.
type simGrant struct {
	of, to, ref, code string
	at, value         int64
}

func readRef(r *value.Reader) string {
	return fmt.Sprint(r.Uint(), r.Int(), r.Uint(), r.Fixed(), r.Uint())
}

func readGrant(r *value.Reader) simGrant {
	return simGrant{of: r.Text(), ref: readRef(r), at: r.Int(), value: r.Int(), code: r.Text()}
}

// grants calls fn with what budgets and pools have granted in a mail.
func (l *simLetter) grants(fn func(g simGrant)) {
	r := l.body
	if l.kind != simGranted {
		return
	}
	for range r.Len(6) {
		granted := r.Byte() != 0
		if g := readGrant(&r); granted {
			g.of, g.to = l.from, l.to
			fn(g)
		}
	}
}

// spends calls fn with what a mail asks of its budget or pool, or returns to it.
func (l *simLetter) spends(fn func(asks bool, g simGrant)) {
	r := l.body
	if l.kind != simSpend {
		return
	}
	for range r.Len(8) {
		kind, g := r.Byte(), readGrant(&r)
		g.of = l.to
		if r.Byte() != 0 {
			r.Int()
			r.Fixed()
			r.Int()
			r.Byte()
		}
		if kind != simKeep {
			fn(kind == 0, g)
		}
	}
}

// A simBudget is what has been granted of a budget, and not returned.
type simBudget struct {
	terms  *campaign.Budget
	p      int                 // its partition
	grants map[string]simGrant // by ref
	given  int
	back   int
}

// A simWhole is what all partitions have together.
type simWhole struct {
	g       *simGroup
	folds   []*simFold
	budgets map[string]*simBudget // by entity
	records map[string]int        // by visitor: how often it has given its record
	claims  map[string]string     // claims without an answer, by ref: of whom
	asked   map[string]bool       // the refs of all that was asked of budgets and pools, and not given back
	problem error
}

func (g *simGroup) newWhole() *simWhole {
	return &simWhole{g: g, budgets: map[string]*simBudget{}, records: map[string]int{}, claims: map[string]string{}, asked: map[string]bool{}}
}

func (w *simWhole) fail(format string, args ...any) {
	if w.problem == nil {
		w.problem = fmt.Errorf(format, args...)
	}
}

// budget is the entity's budget, with its terms in a set.
func (w *simWhole) budget(of string, def *campaign.Definition) *simBudget {
	b := w.budgets[of]
	if b == nil {
		b = &simBudget{grants: map[string]simGrant{}, p: event.Partition(of, w.g.partitions)}
		w.budgets[of] = b
	}
	for i := range def.Campaigns {
		if c := &def.Campaigns[i]; "c:"+c.ID == of || strings.HasPrefix(of, "c:"+c.ID+"/") {
			b.terms = c.Budget
		}
	}
	return b
}

// folded takes what a fold has made of a message.
func (w *simWhole) folded(f *simFold, m broker.Stored, effects []pipeline.Effect) {
	def := f.Definition()
	if simKind(m.Subject) == pipeline.From {
		_ = pipeline.EachPacked(m.Data, func(_ pipeline.Position, b []byte) error {
			l := readLetter(b)
			if l.kind == simRecord || l.kind == simRefused {
				delete(w.claims, readRef(&l.body))
			}
			l.spends(func(asks bool, g simGrant) {
				if b := w.budget(g.of, def); !asks && b.grants[g.ref].of != "" {
					delete(b.grants, g.ref)
					b.back++
				}
			})
			return nil
		})
	}
	merged := map[string]string{} // users, by visitor
	for _, e := range effects {
		if e.Page != nil && e.Page.Type == pipeline.PageMerged {
			merged["a:"+e.Page.Visitor] = "u:" + e.Page.User
		}
		if e.Mail == nil || e.Pos.N == 0 {
			continue
		}
		switch l := readLetter(e.Mail); l.kind {
		case simSpend:
			l.spends(func(asks bool, g simGrant) { w.asked[g.ref] = asks }) // a return may be lost in an acceptance
		case simClaim:
			w.claims[readRef(&l.body)] = l.from
		case simRecord:
			if w.records[l.from]++; merged[l.from] != l.to { // it comes in the same step, before the mail
				w.fail("%s has given %s its record, and no page record says so", l.from, l.to)
			}
		case simGranted:
			l.grants(func(g simGrant) {
				b := w.budget(g.of, def)
				b.grants[g.ref] = g
				b.given++
				w.within(b, g, def.Zone)
			})
		}
	}
}

// within checks that a budget with a time has not granted too much when it has granted g.
// A return that it has applied in the same message may count as applied too late here, so
// one that it never got counts as none.
func (w *simWhole) within(b *simBudget, g simGrant, zoneName string) {
	if b.terms == nil || strings.HasPrefix(g.of, "p:") {
		return
	}
	sum := int64(0)
	for _, o := range b.grants {
		switch t := b.terms; {
		case t.Within > 0 && o.at <= g.at-int64(t.Within):
		case t.PerDay && dateOf(o.at, zoneName) != dateOf(g.at, zoneName):
		default:
			sum += o.value
		}
	}
	if most := b.terms.Most(); sum > most {
		w.fail("%s has granted %d of %d at %s", g.of, sum, most, time.Unix(0, g.at).UTC())
	}
}

func dateOf(at int64, name string) string {
	_, _, _, date := zone.Local(at, zone.OrUTC(name))
	return date
}

// check checks what holds when all is quiet.
func (w *simWhole) check() error {
	if w.problem != nil {
		return w.problem
	}
	if w.g.early { // who forgets early knows nothing of what is on its way
		return nil
	}
	var owned []string
	for p, f := range w.folds {
		for _, key := range slices.Sorted(maps.Keys(f.ents)) {
			if !pipeline.IsUser(key) {
				continue
			}
			u, err := f.User(key)
			if err != nil {
				return err
			}
			for _, e := range u.Pending {
				if e.Kind == "ask" || e.Kind == "grant" {
					return fmt.Errorf("partition %d: %s waits for ever for %s, which %s has asked at %s", p, key, e.Asks, e.Campaign, e.Asked)
				}
			}
			if len(u.Claims) > 0 {
				return fmt.Errorf("partition %d: %s waits for ever for the record of %s", p, key, u.Claims)
			}
			if u.Owner != "" {
				owned = append(owned, key)
				if n := len(u.Pending) + len(u.Sent); n > 0 {
					return fmt.Errorf("partition %d: %s belongs to %s and has %d evaluations and offers", p, key, u.Owner, n)
				}
			}
		}
	}
	if err := w.held(); err != nil {
		return err
	}
	if err := w.outOf(); err != nil {
		return err
	}
	if w.g.counts.cuts > 0 {
		return w.spent()
	}
	for _, key := range slices.Sorted(maps.Keys(w.records)) {
		if n := w.records[key]; n > 1 {
			return fmt.Errorf("%s has given its record to %d users", key, n)
		}
	}
	if err := w.usedOnce(); err != nil {
		return err
	}
	if len(w.claims) > 0 {
		return fmt.Errorf("claims without an answer: %v", w.claims)
	}
	if err := w.nobodyListed(owned); err != nil {
		return err
	}
	return w.spent()
}

// usedOnce checks that no coupon was used by two orders, unless one was cancelled, and no
// cancelled order has used it again.
func (w *simWhole) usedOnce() error {
	used := map[string]int{}
	ended := map[string]bool{}
	for _, m := range w.g.broker.stream("OFFERS").messages {
		var r pipeline.PageRecord
		if !strings.HasPrefix(m.Subject, "page.") || json.Unmarshal(m.Data, &r) != nil {
			continue
		}
		switch r.Type {
		case pipeline.PageRedeemed:
			w.g.counts.redeemed++
			used[r.Offer]++
			if ended[r.Offer+" "+r.OrderID] {
				return fmt.Errorf("the coupon of offer %s is used by order %s, which was cancelled", r.Offer, r.OrderID)
			}
		case pipeline.PageVoided:
			used[r.Offer]--
			ended[r.Offer+" "+r.OrderID] = true
		}
	}
	for _, offer := range slices.Sorted(maps.Keys(used)) {
		if n := used[offer]; n < 0 || n > 1 {
			return fmt.Errorf("the coupon of offer %s is used by %d orders", offer, n)
		}
	}
	return nil
}

// nobodyListed checks that no list of an item holds a visitor who has become a user.
func (w *simWhole) nobodyListed(owned []string) error {
	for p, f := range w.folds {
		for _, key := range slices.Sorted(maps.Keys(f.ents)) {
			if !pipeline.IsItem(key) {
				continue
			}
			it, err := f.Item(key)
			if err != nil { // the set in force does not have its kind
				continue
			}
			for _, name := range slices.Sorted(maps.Keys(it.Features)) {
				var list pipeline.ItemUsers
				if json.Unmarshal(it.Features[name], &list) != nil {
					continue
				}
				for _, user := range list.First {
					if slices.Contains(owned, user) {
						return fmt.Errorf("partition %d: %s of %s has %s, who belongs to a user", p, name, key, user)
					}
				}
			}
		}
	}
	return nil
}

// held checks that budgets hold what was granted and not returned.
func (w *simWhole) held() error {
	for p, f := range w.folds {
		if w.g.wasLost(p) {
			continue
		}
		h, err := f.Holdings(0, 1000)
		if err != nil {
			return err
		}
		_, _, now, _ := f.At()
		for _, unit := range slices.Sorted(maps.Keys(h.Budgets)) {
			b := w.budgets["c:"+unit]
			if b == nil || b.terms == nil {
				continue
			}
			sum := int64(0)
			for _, g := range b.grants {
				switch {
				case b.terms.Within > 0 && g.at <= now-int64(b.terms.Within):
				case b.terms.PerDay && dateOf(g.at, f.Definition().Zone) != dateOf(now, f.Definition().Zone):
				default:
					sum += g.value
				}
			}
			if is := int64(math.Round(h.Budgets[unit].Spent * 1e6)); is != sum && w.g.shop != nil {
				return fmt.Errorf("partition %d: the budget of %s says that %d are spent, granted and not returned are %d", p, unit, is, sum)
			}
		}
	}
	return nil
}

// spent checks that what budgets and pools have granted, and nobody has returned, went
// out: no more, and no less.
//
// Where a log has lost messages, grants may be without an offer: an acceptance counts
// offers as sent that no chain has, and mails with grants, or with visitors who hold
// some, as well. It lists both, they are never sent, and the budget keeps what it has
// granted. So then only the grants count that no such log had to do with: neither those
// that were asked from a partition that has lost something, nor those of a user there,
// nor those of a visitor who belongs to a user there.
func (w *simWhole) spent() error {
	out, pools, codes, ids := map[string]int{}, map[string]string{}, map[string]string{}, map[string]bool{}
	for _, set := range w.g.sets {
		def := set.Definition()
		for i := range def.Campaigns {
			if c := &def.Campaigns[i]; c.Offer.Coupon != nil {
				pools[c.ID] = c.Offer.Coupon.Pool
			}
		}
	}
	for _, r := range w.g.broker.stream("OFFERS").messages {
		var o pipeline.Offer
		if json.Unmarshal(r.Data, &o) != nil || o.Withheld || strings.HasPrefix(r.Subject, "page.") {
			continue
		}
		if out["c:"+o.Campaign]++; ids[o.ID] && w.g.counts.cuts == 0 && w.g.shop != nil {
			return fmt.Errorf("offer %s of %s to %s went out twice", o.ID, o.Campaign, o.Entity())
		}
		ids[o.ID] = true
		if pool := pools[campaign.NameOf(o.Campaign)]; pool != "" && o.Coupon != nil {
			out["p:"+pool]++
			if other := codes[o.Coupon.Code]; other != "" && w.g.counts.cuts == 0 {
				return fmt.Errorf("the code %s went out in %s and in %s", o.Coupon.Code, other, o.ID)
			}
			codes[o.Coupon.Code] = o.ID
		}
	}
	for _, of := range slices.Sorted(maps.Keys(w.budgets)) {
		b := w.budgets[of]
		w.g.counts.grants += b.given
		w.g.counts.returns += b.back
		known := 0 // grants that are not returned, and that the log asks for and does not give back
		var refs []string
		for ref, g := range b.grants {
			if w.asked[ref] && !w.mayBeLost(g) {
				known++
				refs = append(refs, fmt.Sprint(g.to, " at ", g.at, " by ", ref))
			}
		}
		slices.Sort(refs)
		switch {
		case w.g.counts.cuts > 0 && (w.g.wasLost(b.p) || w.g.lost["OFFERS"]):
		case w.g.counts.cuts > 0 && known > out[of], w.g.counts.cuts == 0 && known != out[of]:
			return fmt.Errorf("%s has granted %d, %d were returned and %d went out; %d are granted: %s", of, b.given, b.back, out[of], known, strings.Join(refs, ", "))
		}
	}
	return nil
}

// outOf checks that no more went out than budgets and pools allow, whatever logs have lost
// and an operator has accepted (G5): by the grants that the offers themselves name. Only
// where offers are lost, too, grants are not known any more.
func (w *simWhole) outOf() error {
	if w.g.lost["OFFERS"] || w.g.shop == nil {
		return nil
	}
	out, codes := map[string]map[string]simGrant{}, map[string]simGrant{}
	for _, m := range w.g.broker.stream("OFFERS").messages {
		b, err := base64.RawStdEncoding.DecodeString(m.Header.Get(broker.HeaderGrants))
		if err != nil {
			return err
		}
		r := value.Reader{B: b}
		n := 0
		if len(b) > 0 {
			n = r.Len(8)
		}
		for range n {
			g := readGrant(&r)
			if out[g.of] == nil {
				out[g.of] = map[string]simGrant{}
			}
			out[g.of][g.ref] = g
			if other, ok := codes[g.code]; ok && g.code != "" && other.ref != g.ref {
				return fmt.Errorf("the code %s went out twice: %+v and %+v", g.code, other, g)
			}
			codes[g.code] = g
		}
		if r.Err != nil {
			return r.Err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.g.shop.budgets)) {
		terms := w.g.shop.budgets[id]
		if terms == nil {
			continue
		}
		for _, end := range out["c:"+id] {
			sum := int64(0)
			for _, g := range out["c:"+id] {
				switch {
				case terms.Within > 0 && (g.at > end.at || g.at <= end.at-int64(terms.Within)):
				case terms.PerDay && dateOf(g.at, "Etc/GMT-12") != dateOf(end.at, "Etc/GMT-12"):
				default:
					sum += g.value
				}
			}
			if most := terms.Most(); sum > most {
				return fmt.Errorf("offers of c:%s have gone out with %d of %d up to %s", id, sum, most, time.Unix(0, end.at).UTC())
			}
		}
	}
	return nil
}

// mayBeLost reports whether a grant has to do with a partition whose log ever lost
// anything.
func (w *simWhole) mayBeLost(g simGrant) bool {
	var asked int
	if _, err := fmt.Sscan(g.ref, &asked); err != nil || w.g.wasLost(asked) {
		return true
	}
	p := event.Partition(g.to, w.g.partitions)
	if w.g.wasLost(p) {
		return true
	}
	u, err := w.folds[p].User(g.to)
	return err != nil || u.Owner != "" && w.g.wasLost(event.Partition(u.Owner, w.g.partitions))
}

// wasLost reports whether a partition's log ever lost anything.
func (g *simGroup) wasLost(p int) bool {
	return g.lost[fmt.Sprint("EVENTS-", p)] || len(g.accepted[p]) > 0
}
