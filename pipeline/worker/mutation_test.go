package worker

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var mutate = flag.Bool("mutations", false, "run TestMutations, which takes twenty minutes")

// A mutation removes one rule from the code.
type mutation struct {
	rule, file, from, to string
	by                   noticer
}

// A noticer is the tests of a package that notice a mutation.
type noticer struct{ pkg, tests, args string }

var (
	bySimulation = noticer{".", "^TestSimulation$", "-seeds=1000"}
	byMails      = noticer{".", "^TestSimulationOfMails$", "-seeds=250"}
	byCore       = noticer{"..", coreTests, "-seeds=150"}
	byBackfill   = noticer{".", "^TestBackfill(LostAtSwitch|Interrupted|OtherLog.*)$", ""}
	bySecond     = noticer{"../backfill", "^TestSecond.*$", ""}
	byBroker     = noticer{"../broker", "^(TestTail.*|TestReader.*)$", ""}
)

// mutations are the rules of the protocol (PROTOCOL.md), and others on which it
// relies, each with the line of code that implements it. Rules without which only
// work is done twice are not among them: that a control message is appended once,
// and that leases keep two workers from owning the same partition. Nor is the rule
// that a cursor says how much of a message is applied: without it users recognise
// their duplicates (TestKillWithinMessage tests it).
var mutations = []mutation{
	{"P1: a record without an acknowledgement is not known stored", "broker/publish.go",
		"		err := ch.publish(ctx, es)\n", "		err := ch.publish(ctx, es)\n		if err != nil && ctx.Err() == nil {\n			ch.saw(tail{Position: es[0].Pos, seq: ch.tail.seq + 1})\n			return 1, nil\n		}\n", bySimulation},
	{"P1: after a failure the tail is read", "broker/publish.go",
		"		if err := ch.again(ctx, attempt, err); err != nil {\n			return 0, err\n		}\n		if attempt++", "		if attempt++", bySimulation},
	{"P2: a publish expects the last message on its subject", "worker/simulation_broker_test.go",
		"seq, err = p.w.b.store(p.subject, own, data, &expect)", "seq, err = p.w.b.store(p.subject, own, data, nil)", bySimulation},
	{"P1: a batch without an acknowledgement is not known stored", "broker/publish.go",
		"		err := ch.publish(ctx, es)\n", "		err := ch.publish(ctx, es)\n		if err != nil && ctx.Err() == nil && len(es) > 1 && !ch.mails {\n			ch.saw(tail{Position: es[len(es)-1].Pos, seq: ch.tail.seq + uint64(len(es))})\n			return len(es), nil\n		}\n", bySimulation},
	{"P1: what the tail has of a batch is skipped record by record", "broker/publish.go",
		"		if stored, err = ch.skip(ctx, es); stored > 0 || err != nil {\n			return stored, err\n", "		if stored, err = ch.skip(ctx, es); stored > 0 && !ch.mails {\n			return len(es), err\n		} else if stored > 0 || err != nil {\n			return stored, err\n", bySimulation},
	{"P2: a batch expects the last message on its subject", "worker/simulation_broker_test.go", "			first := &expect\n", "			var first *uint64\n", bySimulation},
	{"a batch that is acknowledged is stored as a whole", "worker/simulation_broker_test.go", "		for i, m := range all {\n			first", "		for i, m := range all[:(len(all)+1)/2] {\n			first", bySimulation},
	{"a batch's acknowledgement is that of its last record", "broker/publish.go", "Position: es[len(es)-1].Pos", "Position: es[0].Pos", bySimulation},
	{"P4: a checkpoint waits for its offers", "worker/committer.go",
		"if err := c.chains.Await(ctx, cursor); err != nil {", "if err := ctx.Err(); err != nil {", bySimulation},
	{"P5: a tail does not precede a record that is known stored", "broker/tail.go", "order(t.Position, known.Position) < 0 && !t.aged {", "false {", byBroker},
	{"P5: a tail does not precede the state's last record", "broker/chain.go", "case before < 0 && !t.aged:", "case false:", bySimulation},
	{"P5: the log does not end before the last message applied", "worker/reading.go", "case end < seen:", "case false:", bySimulation},
	{"P5: the message at the cursor is the one that was applied", "worker/reading.go", "if m.Seq == before.seq && m.Stored != before.stored {", "if false {", bySimulation},
	{"P5: the message that was applied in part is the same", "worker/attempt.go", "if a.from.Partly != 0 {", "if false {", bySimulation},
	{"P5: a fold does not pass a tail without giving its record", "broker/tail.go", "if order(t.Position, last) > 0 && t.S <= seq {", "if false {", byBroker},
	{"P6: a follower publishes nothing and waits for the owner", "broker/publish.go", "if ch.all.muted.Load() {\n", "if ch.all.muted.Load() {\n			ch.saw(tail{Position: es[0].Pos, seq: ch.tail.seq})\n			return 1, nil\n", bySimulation},
	{"P8: a gap in the log is an error", "broker/reader.go", "if m.Seq != r.next {", "if r.next = m.Seq; false {", byBroker},
	{"D3: only a newer record is carried out", "worker/control.go", "return live.Revision > revision && live.Set", "return live.Revision != revision && live.Set", bySimulation},
	{"D3: only newer pauses are carried out", "worker/control.go", "if pauses.Revision <= h.pauses {", "if false {", bySimulation},
	{"D4: cursor and changes are of the same moment", "checkpoint/writer.go", "j, err := StoredCursor(w.cursor)", "cursor := w.cursor\n	if cursor.Seq > 1 {\n		cursor.Seq--\n	}\n	j, err := StoredCursor(cursor)", bySimulation},
	{"a user whose change is not stored stays in the cache", "checkpoint/cache.go", "if e.gen <= c.committed {", "if true {", bySimulation},
	{"a checkpoint has all changes", "checkpoint/cache.go", "		c.encodeBefore(c.ending[c.next])\n", "		if c.next != 3 {\n			c.encodeBefore(c.ending[c.next])\n		}\n", bySimulation},
	{"what a step changes while a checkpoint is encoded is encoded before", "checkpoint/cache.go", "	c.encodeBefore(e)\n	if e.gen", "	if e.gen", bySimulation},
	{"timers are read from the store", "worker/attempt.go", "a.fold.Schedule(due, key); return nil", "return nil", bySimulation},
	{"a user's consent is stored", "record.go", "w.Byte(truth(e.consent[i].granted))", "w.Byte(0)", byCore},
	{"a user's sequences are stored", "record.go", "w.Times(q.starts)", "w.Times(make([]int64, len(q.starts)))", byCore},
	{"the end of a user's session is stored", "session.go", "w.Byte(truth(s.ends))", "w.Byte(0)", byCore},
	{"which trigger came is stored", "record.go", "w.Byte(e.entry)", "w.Byte(0)", byCore},
	{"a fact is stored", "record.go", "w.Bytes(e.fact.raw)", "w.Bytes(nil)", byCore},
	{"a reader counts the bytes of its pulls", "broker/pulls.go", "func (p *Pulls) Came(size int) { p.less(1, size) }", "func (p *Pulls) Came(size int) { p.less(1, 0*size) }", byBroker},
	{"a silent reader is opened again", "worker/attempt.go", "if a.reader.Silent() {", "if false {", bySimulation},
	{"an owner lets go when another should own", "worker/assignment.go", "if owns && at(id) < mine && (own || at(id) == 0 && isReady) {", "if false {", bySimulation},
	{"a follower takes over when nobody owns", "worker/assignment.go", "case ready && !before, rank == 0 && !anyReady:", "case false:", bySimulation},
	{"a lease is renewed", "worker/group.go", "!c.Equal(g.said) || now.Sub(g.renewed) >= renewEvery", "!c.Equal(g.said)", bySimulation},
	{"a snapshot is restored when the log has expired", "worker/snapshot.go", "case m.Seq+1 < first:", "case true:", bySimulation},
	{"a worker gives up before its disk is full", "worker/room.go", "case free < need:", "case false:", bySimulation},
	{"a snapshot is restored only if there is room", "worker/room.go", "if need := w.room(partitions); err == nil && free < need {", "if false {\n		need := int64(0)", bySimulation},
	{"a partition does not stop because a snapshot was replaced meanwhile", "worker/snapshot.go", "	return gone // the next attempt finds the newer snapshot", "	p.hopeless = true\n	return nil", bySimulation},
	{"a partition does not stop because the log expires meanwhile", "worker/reading.go", "if end >= seen && (a.reader != nil || !a.p.hopeless) {", "if false {", bySimulation},
	{"P9: snapshots from before an acceptance are not used", "worker/snapshot.go", "case accepted != 0 && !checkpoint.HasFolded(m, accepted):", "case false:", bySimulation},
	{"P9: the state from before an acceptance is discarded", "worker/snapshot.go", "if cursor.Accepted != accepted && cursor.Seq > 0 {", "if false {", bySimulation},
	{"P9: numbers go on beyond all that were given out", "accept.go", "f.cur.After = max(f.cur.After, f.accept.After)", "f.cur.After = 0", byCore},
	{"P9: a chain that begins after an acceptance may have existed before it", "fold.go", "N: max(ch.Last.N, f.cur.After, stored) + 1", "N: max(ch.Last.N, stored, map[bool]uint64{true: f.cur.After}[e.Mark != nil]) + 1", byCore},
	{"P9: the first record of such a chain is published", "broker/publish.go", "ch.tail.N == 0 && ch.stored.N == 0", "false", bySimulation},
	{"P9: an acceptance needs two clocks that agree", "audit/accept.go", "if ahead.Abs() > broker.ClockApart {", "if false {", bySimulation},
	{"P9: a gap is read again before it counts as a loss", "audit/replay.go", "if m.Seq > from && (m.Seq != gap || looks < gapLooks) {", "if false {", bySimulation},
	{"P9: a snapshot that cannot be read now is not skipped", "audit/replay.go", "if !errors.Is(err, state.ErrDamaged) && !errors.Is(err, broker.ErrSnapshotDamaged) && !errors.Is(err, state.ErrForeign) && !errors.Is(err, checkpoint.ErrOtherLog) && !errors.Is(err, errWithin) {", "if false {", bySimulation},
	{"P9: a snapshot of another log is not accepted", "audit/replay.go", "if m.Seq != known.seq || m.Stored != known.stored {", "if false {", bySimulation},
	{"P9: older snapshots stay until the acceptance has stored its own", "audit/accept.go", "return seq > end }); err != nil { // they are of another log", "return true }); err != nil { // they are of another log", bySimulation},
	{"P9: an acceptance stores a snapshot", "audit/accept.go", "return a.leave(ctx, a.end)", "return nil", bySimulation},
	{"D3: a revision that is not above the last one changes nothing", "control.go", "case c.Revision > 0 && c.Revision <= f.cur.Revision:", "case false:", byCore},
	{"D3: pauses with an old revision change nothing", "control.go", "if c.Pauses == 0 || c.Pauses > f.cur.Pauses {", "if true {", byCore},
	{"switch: the engine is not below that in force", "switch.go", "if c.set.def.Engine < live.def.Engine || ", "if ", byCore},
	{"switch: the second state is at most an hour behind", "switch.go", "value.Minus(f.target, sw.LogTime) > int64(staleAfter) || ", "", byCore},
	{"switch: the second state is before it", "switch.go", "sw.Seq >= f.msg.Seq || ", "", byCore},
	{"switch: no acceptance lies between", "switch.go", " || f.cur.Accepted != sw.Accepted {", " {", byCore},
	{"switch: what live has sent is not sent again", "join.go", "if live.sentSince(w.campaign, w.key, w.stored.at) {", "if false {", byCore},
	{"switch: what the set lacks is retired", "switch.go", "	g.retire(set)\n", "", byCore},
	{"switch: nothing begins for who is forgotten", "join.go", "if !live.forgotten(j.now, false) {", "if true {", byCore},
	{"switch: the condition of who is away is judged then", "join.go", "w.dormant() && !j.away(&w) || ", "", byCore},
	{"switch: what waits in both states goes on once", "join.go", "	j.goOn(live, second)\n", "", byCore},
	{"switch: no timer fires while users are joined", "fold.go", "if f.cur.Joined == nil && f.fire(", "if f.fire(", byCore},
	{"switch: listed features come from the second state", "join.go", "			live.states = append(live.states, *st)\n", "", byCore},
	{"switch: listed sequences come from the second state", "join.go", "			live.sequences = append(live.sequences, q)\n", "", byCore},
	{"switch: a session under way ends under the new set", "join.go", "		of.ends, of.lastID = true, was.lastID\n", "		_ = of\n", byCore},
	{"switch: dwells of the other state are computed anew", "join.go", "	j.dwells(live)\n", "", byCore},
	{"switch: the first due time stays", "join.go", "			w.due = j.sw.Overdue.due(j.now, live.Key)\n", "			w.due = j.sw.Overdue.due(j.now, live.Key)\n			w.firstDue = w.due\n", byCore},
	{"second: a later trigger ends what is overdue", "evaluation.go", "return same(w) && !s.overdue(w) })", "return same(w) })", byCore},
	{"second: what is due waits for the switch", "fold.go", "	case f.cur.Second && due != DueByMail:\n", "	case false:\n", byCore},
	{"second: sessions and dwells are judged as of when they are due", "step.go", "		s.settle(e, now)\n", "", byCore},
	{"second: what is overdue leaves first at the bound of bytes", "evaluation.go", "cmp.Compare(truth(!s.overdue(&a)), truth(!s.overdue(&b))), ", "", byCore},
	{"second: what is overdue keeps nobody from being forgotten", "second.go", "return !second || w.due > now })", "return true })", byCore},
	{"second: users who are away are reached", "second.go", "		e.add(pending{", "		_ = (pending{", byCore},
	{"rule 14: features that are gone are fed for a day", "retired.go", "before.Set != emptySet() {", "false {", byCore},
	{"rule 14: and no longer", "retired.go", "	if len(f.retired) == 0 || !old(f.retired[0]) {", "	if true {", byCore},
	{"rule 18: retired features leave first", "retired.go", "	e.fitRetired(sc.now)\n", "", byCore},
	{"switch: a reader joins the second state that it names, and not one of its own that began elsewhere", "worker/join.go", "second.Name == name && second.Seq() <= seq", "second.Set == name.Set && second.Seq() <= seq", byBackfill},
	{"switch: a second state beyond the switch is not joined", "worker/join.go", "second.Name == name && second.Seq() <= seq", "second.Name == name", byBackfill},
	{"switch: the second state comes up to the switch", "worker/join.go", "err = second.To(ctx, seq)", "err = nil", bySimulation},
	{"switch: who is interrupted goes on after the users that are joined", "backfill/join.go", "	j.Fold.JoinedTo(key)\n", "", byBackfill},
	{"D3: a go puts nothing in force without a second state", "worker/control.go", "live.Go() && seq > 0 {", "live.Go() && seq > 1e9 {", byBackfill},
	{"second: a state that lost its log is begun anew", "worker/second.go", "anew := errors.Is(err, backfill.ErrLog) || errors.Is(err, state.ErrDamaged)", "anew := errors.Is(err, state.ErrDamaged)", byBackfill},
	{"second: the log is compared even where nothing is left to fold", "backfill/reading.go", "	s.same = s.same || s.at.seq < first", "	s.same = true", byBackfill},
	{"second: a state from before an acceptance is of no use", "worker/secondbegin.go", " && s.state.Cursor().Accepted == accepted", "", byBackfill},
	{"switch: nor is it joined", "worker/join.go", " && second.Cursor().Accepted == sw.Accepted", "", byBackfill},
	{"second: a state of another log is not gone on with", "backfill/reading.go", "if m.Seq == before.seq && m.Stored != before.stored {", "if _ = before; false {", bySecond},

	// Chains of mails. What the core does with mails has rows of its own.
	{"mails, P1: a pack without an acknowledgement is not known stored", "broker/publish.go",
		"		err := ch.publish(ctx, es)\n", "		err := ch.publish(ctx, es)\n		if err != nil && ctx.Err() == nil {\n			ch.saw(tail{Position: es[len(es)-1].Pos, seq: ch.tail.seq + 1})\n			return len(es), nil\n		}\n", byMails},
	{"mails, P1: what the tail has of a pack is skipped mail by mail", "broker/publish.go", "		if stored, err = ch.skip(ctx, es); stored > 0 || err != nil {\n			return stored, err\n", "		if stored, err = ch.skip(ctx, es); stored > 0 || err != nil {\n			return len(es), err\n", byMails},
	{"mails, P4: a checkpoint waits for its mails", "broker/chain.go", "behind = behind || ch == nil || order(ch.stored, c.Last) < 0", "_, _ = ch, c", byMails},
	{"T1: numbers begin anew with an acceptance", "broker/tail.go", "cmp.Or(cmp.Compare(a.G, b.G), cmp.Compare(a.N, b.N))", "cmp.Compare(a.N, b.N)", byMails},
	{"T2: a tail before what is known is a loss while the log reaches back", "broker/tail.go", "t.aged, err = ch.expired(ctx, known.Seq)", "t.aged = true", byMails},
	{"T2: it is age if the log does not", "broker/tail.go", "t.aged, err = ch.expired(ctx, known.Seq)", "t.aged = false", byMails},
	{"T2: the writer goes on behind what it knows", "broker/publish.go", "		if order(e.Pos, ch.known.Position) > 0 {\n", "		if order(e.Pos, ch.tail.Position) > 0 {\n", byMails},
	{"T2: and expects the tail that there is", "broker/publish.go", "ch.msg.Data, ch.tail.seq)", "ch.msg.Data, ch.known.Seq)", byMails},
	{"T2: a checkpoint has the sequence of the last message known stored", "broker/mail.go", "			c.Sent = ch.known.Seq\n", "			c.Sent = 0\n", byMails},

	// Mails, in the core.
	{"T1: what was applied is passed over", "mail.go", "return !any || after(m.at, last)", "return true", byCore},
	{"T1: the same number with another origin is loud", "mail.go", "if any && m.at.G == last.G && m.at.N == last.N && m.at != last {", "if false {", byCore},
	{"T1: the receiver orders by acceptance first", "mail.go", "cmp.Or(cmp.Compare(a.G, b.G), cmp.Compare(a.S, b.S), cmp.Compare(a.K, b.K))", "cmp.Or(cmp.Compare(a.S, b.S), cmp.Compare(a.K, b.K))", byCore},
	{"T1: mails name the acceptance", "mail.go", "T: f.msg.Stored, G: g}", "T: f.msg.Stored}", byCore},
	{"T3: an acceptance sends a mark to every partition", "accept.go", "for q := range f.partitions {", "for q := range 0 * f.partitions {", byCore},
	{"T3: an acceptance ends what waits in its partition", "accept.go", "more := f.lose(func(int) bool { return true })", "more := false", byCore},
	{"T3: a mark ends what waits for its sender", "mail.go", "if f.err == nil && f.lose(func(p int) bool", "if false && f.lose(func(p int) bool", byCore},
	{"T3: claims end, too", "ask.go", "	e.claims = slices.DeleteFunc(e.claims, claims)\n", "", byCore},
	{"T3: a mark ends what came with a visitor of its sender", "ask.go", "(of(w.ask.of) || wanted(w.ask.ref.P))", "of(w.ask.of)", byCore},
	{"G1: a grant that nothing waits for is returned", "budget.go", "if s.strays++; granted {", "if s.strays++; false {", byCore},
	{"G1: what is superseded or cancelled gives its grants back", "evaluation.go", "	if how != Fired {\n		s.giveBack(&e.pending)\n	}\n", "", byCore},
	{"G1: so does what a change of sets cancels", "entity.go", "			if l.end(ev, Cancelled); ev.ask != nil {", "			if l.end(ev, Cancelled); false {", byCore},
	{"G1: and what a switch cancels", "join.go", "		live.orphans = append(live.orphans, sp.grant)\n", "		_ = sp\n", byCore},
	{"G1: what is held gives its grants back", "choice.go", "	s.giveBack(&e.pending)\n	q := e.c.quiet", "	q := e.c.quiet", byCore},
	{"G2: each ask counts for itself", "budget.go", "granted := shape.SumAtMost(&b.spent, now, g.value, terms.Most())", "granted := slices.ContainsFunc(b.lent.newest, func(o grant) bool { return o.ref.H == g.ref.H }) || shape.SumAtMost(&b.spent, now, g.value, terms.Most())", byCore},
	{"G3: an ask that is lost is withdrawn", "budget.go", "	if e.stage == stageGrant {\n		s.spend", "	if false {\n		s.spend", byCore},
	{"G3: a return that finds no grant changes nothing", "budget.go", "return g, 0 < g.at && g.at <= l.gone", "return g, 0 < g.at", byCore},
	{"G4: the window is over the grants' times", "budget.go", "window.TakeBack(shape, &b.spent, g.at, g.value, now)", "window.TakeBack(shape, &b.spent, now, g.value, now)", byCore},
	{"G5: offers name their grants", "choice.go", "				o.grants = e.ask.got\n", "", byCore},
	{"G5: and so do their records", "broker/record.go", "		setHeader(m.Header, HeaderGrants, granted)\n", "", bySimulation},
	{"G5: an acceptance counts again what is lost", "recount.go", "	f.step.countAgain(sp)\n", "", bySimulation},
	{"G5: once", "recount.go", "if b.lent.find(g.ref) >= 0 || ", "if ", byCore},
	{"G5: on the day of the newest", "recount.go", "now := max(s.budgetTime(), g.at)", "now := s.budgetTime()", byCore},
	{"G5: also what other logs have, and what may still go out", "recount.go", "	return eachGranted(&m, r.take)\n", "	return eachGranted(&m, func(grant) {})\n", byCore},
	{"G5: but not what has been returned", "recount.go", "					delete(r.granted, sp.grant.ref)\n", "", byCore},
	{"G5: nor what the log still gives", "recount.go", "func(g grant) { delete(r.granted, g.ref) })", "func(grant) {})", byCore},
	{"G5: a lost code is marked as taken", "pool.go", "if code = chunk.codes[p.taken-1]; !p.isOut(code) {", "if code = chunk.codes[p.taken-1]; true {", byCore},
	{"G5: what is out is not withdrawn", "budget.go", "if s.second || s.spent[sp.grant.ref] {", "if s.second {", byCore},
	{"G5: nor returned later", "budget.go", "	case spendKeep:\n		b.lent.keep(g.ref)\n", "	case spendKeep:\n", byCore},
	{"a budget is never exceeded", "budget.go", "granted := shape.SumAtMost(&b.spent, now, g.value, terms.Most())", "granted := shape.SumAtMost(&b.spent, now, 0, terms.Most())", byCore},
	{"a code of a pool is given once", "pool.go", "if code = chunk.codes[p.taken-1]; !p.isOut(code) {", "if code = chunk.codes[max(p.taken-2, 0)]; !p.isOut(code) {", byCore},
	{"M1: a visitor answers each claim", "claim.go", "		s.send(m.from, mailRefused, w.B)\n", "", byCore},
	{"M1: a visitor belongs to one user", "claim.go", "	if e.owner != \"\" {\n		s.refusedClaims++", "	if false {\n		s.refusedClaims++", byCore},
	{"M1: a record that no claim waits for is dropped", "claim.go", "	if i < 0 {\n		s.strays++\n		s.dropRecord(a)", "	if false {\n		s.strays++\n		s.dropRecord(a)", byCore},
	{"M1: an answer ends the claim", "claim.go", "		s.entity.claims = slices.Delete(s.entity.claims, i, i+1)\n", "", byCore},
	{"a visitor that has given its record is told of", "claim.go", "	s.tellMerged(m.from)\n", "", bySimulation},
	{"page records are a chain of their own", "page.go", "Effect{Chain: pageChain,", "Effect{Chain: withheldChain,", byCore},
	{"coupons: no second order uses a code", "redeem.go", "case ev.Name == CouponRedeemed && c.order == \"\" && ", "case ev.Name == CouponRedeemed && c.order != order && ", bySimulation},
	{"coupons: no order that was cancelled uses it again", "redeem.go", "if c == nil || slices.Contains(c.voided, order) {", "if c == nil {", bySimulation},
	{"coupons: only the order that has used it is cancelled", "redeem.go", "case ev.Name == CouponVoided && c.order == order:", "case ev.Name == CouponVoided:", bySimulation},
	{"coupons: none is used that has expired", "redeem.go", " && !c.expired(s.now):", ":", byCore},
	{"coupons: a visitor's are the user's", "merge.go", "	e.mergeCoupons(a, s.now)\n", "", byCore},
	{"coupons: a duplicate is looked at", "step.go", "	s.redeem(ev)\n	if e.duplicate(ev.ID, now) {\n		s.duplicates++\n		return\n	}\n", "	if e.duplicate(ev.ID, now) {\n		s.duplicates++\n		return\n	}\n	s.redeem(ev)\n", byCore},
	{"coupons: a code was made for whoever got it", "redeem.go", "keys.Made(info, c.to)", "keys.Made(info, e.Key)", byCore},
	{"coupons: which order has used one is stored", "redeem.go", "		w.Text(c.order)\n", "		w.Text(\"\")\n", byCore},
	{"coupons: which orders were cancelled is stored", "redeem.go", "			w.Text(order)\n", "			w.Text(order + \"x\")\n", byCore},
	{"coupons: a browser uses none", "redeem.go", "s.second || ev.NoProof || ", "s.second || ", byCore},
	{"M2: items are told", "merge.go", "		s.send(item, mailRename, w.B)\n", "		_ = item\n", byCore},
	{"M2: what the visitor sent before is passed over", "feed.go", "stale := s.renamedAfter(m)", "stale := false && s.renamedAfter(m)", byCore},
	{"M2: an item forgets it when all has come", "claim.go", "return !after(r.at, s.got(r.p)) })", "return false })", byCore},
	{"M3: nobody is forgotten before all mails have come", "worker/worker_test.go", "def.Forget = campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known:", "def.Forget = campaign.Forget{Anonymous: time.Minute, Known:", bySimulation},
	{"M3: who waits is not forgotten", "entity.go", " && !e.waitsFor(now, second) && len(e.claims) == 0", "", byCore},
	{"what comes for the visitor goes to the user: events", "step.go", "		s.forwardEvent(ev) //", "		//", byCore},
	{"what comes for the visitor goes to the user: mails", "mail.go", "		s.forwardMail(m)\n", "", byCore},
	{"a visitor's evaluations move", "merge.go", "	s.moveIn(moved, a.Key)\n", "", byCore},
	{"a merge ends what was asked under another set", "merge.go", "one.c == nil || one.c.asksOtherwise(&w) {", "one.c == nil {", byCore},
	{"an event that is forwarded does not begin its step twice", "step.go", "if s.second || !s.forwarded {", "if true {", byCore},
	{"switch: what asks begins there", "join.go", "if stages[w.stage].mail || c.items != nil {", "if false {", byCore},
	{"remains: a visitor who was claimed is not joined", "join.go", "		j.leave(live, second)\n", "", byCore},
	{"remains: the user takes them while it holds the merge", "remains.go", "	case i < 0:\n		s.strays++\n", "	case i < 0:\n		s.takeRemains(x, merged{})\n", byCore},
	{"remains: a user holds its merges", "claim.go", "	s.holds(a, ref)\n", "", byCore},
	{"remains: the second state takes from a record only what is not listed", "remains.go", "before.Set != s.live.hash {", "false {", byCore},
	{"remains: so does a user who has switched before the visitor", "remains.go", "	case before.Revision < last.Revision:", "	case false:", byCore},
	{"remains: a view ends what visitors have opened", "step.go", "			e.viewEnds(ev.Time)\n", "", byCore},
	{"remains: mails of merges are applied while other work is put off", "mail.go", "	case mailClaim, mailRecord, mailRefused, mailForward, mailRemains:", "	case mailClaim, mailRefused, mailForward:", byCore},
	{"second: a visitor that was claimed is stored", "claim.go", "		if e.seq == 0 { // else it would not be stored", "		if false {", byCore},
	{"to: a long list goes on after a crash", "cursor.go", "`json:\"fan,omitempty\"`", "`json:\"-\"`", byCore},
	{"to: a step reaches so many users", "fanout.go", "if sent >= fanStep {", "if false {", byCore},
	{"to: a mail is done when its list is", "mail.go", "	if f.cur.Fan == \"\" && f.err == nil {\n		f.passed(m)", "	if f.err == nil {\n		f.passed(m)", byCore},
	{"the origins of the last mails are stored", "cursor.go", "`json:\"got,omitempty\"`", "`json:\"-\"`", byCore},
	{"what an evaluation has asked is stored", "link.go", "		a.ref.append(w)\n", "		(Ref{}).append(w)\n", byCore},
	{"what it was answered is stored", "link.go", "w.Len(1 + indexOf(answers, a.items))", "w.Len(0)", byCore},
	{"what it was granted is stored", "link.go", "		appendGrants(w, a.got)\n", "		appendGrants(w, nil)\n", byCore},
	{"whose a visitor is is stored", "link.go", "	w.Text(e.owner)\n", "	w.Text(\"\")\n", byCore},
	{"claims are stored", "link.go", "		c.ref.append(w)\n", "		(Ref{}).append(w)\n", byCore},
	{"the lists that hold a user are stored", "link.go", "		w.Text(l.item)\n", "		w.Text(\"i:product:none\")\n", byCore},
	{"who was renamed is stored", "link.go", "		n.at.append(w)\n", "		(Position{}).append(w)\n", byCore},
	{"what a budget has lent is stored", "link.go", "			b.lent.append(w)\n", "			(&lent{}).append(w)\n", byCore},
	{"what a budget has spent is stored", "link.go", "			b.spent.Append(w)\n", "			(&window.State{}).Append(w)\n", byCore},
	{"which codes are taken is stored", "pool.go", "	w.Len(p.taken)\n", "	w.Len(0)\n", byCore},
	{"codes are stored", "link.go", "			w.Text(c)\n", "			w.Text(c + c)\n", byCore},
}

// coreTests are the tests of package pipeline that notice a mutation of it.
const coreTests = "^(TestAccept|TestMark|TestRevisions|TestSwitch.*|TestSecond.*|TestDormant|TestLaterTrigger|TestGoesOn|TestJoinGoesOn|TestRollback|TestRetired.*|TestBackfillReadsAsReplay|TestAsk.*|TestLost|TestFeedOrder|TestTo.*|TestBudget.*|TestPool|TestImportAgain|TestMerge.*|TestUnion.*|TestForward|TestClaim.*|TestMail.*|TestReturnedOnce|TestGrant.*|TestRenamedForgotten|TestRemains.*|TestRecord.*|TestCursorVersion|TestPage.*|TestCoupon.*)$"

// sources returns the directory of this package's sources.
func sources(t *testing.T) string {
	t.Helper()
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no source")
	}
	return filepath.Dir(here)
}

// apply returns the file that the mutation changes, and its changed content.
func (m mutation) apply(t *testing.T) (file string, mutant []byte) {
	t.Helper()
	file = filepath.Join(filepath.Dir(sources(t)), m.file)
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(src, []byte(m.from)); n != 1 {
		t.Fatalf("%s has the line %d times: %s", m.file, n, m.from)
	}
	return file, bytes.Replace(src, []byte(m.from), []byte(m.to), 1)
}

// TestMutationLines checks that each file still has the line that its mutation
// changes, so that a changed line is noticed at once.
func TestMutationLines(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.rule, func(t *testing.T) { m.apply(t) })
	}
}

// TestMutations builds the tests that must notice it, once for each mutation; the
// simulation must do so within 1,000 seeds. As many mutations are tried at a time as there
// are processors, each on one of them.
func TestMutations(t *testing.T) {
	if !*mutate {
		t.Skip("this takes twenty minutes: run go test ./pipeline/worker -run TestMutations -v -timeout 60m -args -mutations")
	}
	for _, m := range mutations {
		t.Run(m.rule, func(t *testing.T) {
			t.Parallel()
			m.notice(t)
		})
	}
}

// otherTests are files of tests that no mutation needs. They take a third of the time
// in which the tests are compiled.
func otherTests(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(sources(t), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.DeleteFunc(all, func(file string) bool {
		name := filepath.Base(file)
		return strings.HasPrefix(name, "simulation") || name == "worker_test.go"
	}), filepath.Join(filepath.Dir(sources(t)), "scenarios_test.go"))
}

// notice runs what must notice the mutation.
func (m mutation) notice(t *testing.T) {
	file, mutant := m.apply(t)
	dir := t.TempDir()
	patched := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(patched, mutant, 0o600); err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	simulated := m.by == bySimulation || m.by == byMails
	if simulated || m.by == byCore {
		for _, one := range otherTests(t) {
			replace[one] = "" // as if it were not there
		}
	}
	replace[file] = patched
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-overlay", list, "-vet=off", "-ldflags=-s -w", "-run", m.by.tests, "-count=1", "-failfast", "-timeout", "20m", m.by.pkg)
	if m.by.args != "" {
		cmd.Args = append(cmd.Args, "-args", m.by.args)
	}
	cmd.Dir, cmd.Env = sources(t), append(os.Environ(), "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("it is not noticed")
	}
	noticed := regexp.MustCompile(`--- FAIL: (\w+).*\n\s*(\S.*)`)
	if simulated {
		noticed = regexp.MustCompile(`-seed=(\d+)\n\s*(.*)`)
	}
	found := noticed.FindSubmatch(out)
	if found == nil {
		t.Fatalf("it ended otherwise:\n%s", out)
	}
	t.Logf("noticed by %s: %s", found[1], found[2])
}
