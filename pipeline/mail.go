package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A mail is a message from one entity's step to another entity (LANGUAGE.md, rule
// 20). What one step sends to one entity is one mail, which is applied there in one
// step.
type mail struct {
	at   Position // its origin, in the sender's log
	now  int64    // the log time of the sender's step
	kind mailKind
	from string // the entity that sent it
	to   string
	body []byte
}

// A mailKind says what the body of a mail is. Logs have these numbers, so they never
// change.
type mailKind uint8

const (
	mailMark      mailKind = 0  // of no entity: the sender's partition has accepted losses (accept.go)
	mailFeed      mailKind = 1  // from a user to an item: entries, questions, and triggers of `to` (feed.go)
	mailAnswer    mailKind = 2  // from an item to a user: what was asked (ask.go)
	mailRecipient mailKind = 3  // from an item to a user in a list of `to` (fanout.go)
	mailSpend     mailKind = 4  // from a user to a budget or pool: requests, returns, withdrawals (budget.go)
	mailGrant     mailKind = 5  // from a budget or pool to a user: granted or refused
	mailClaim     mailKind = 6  // from a user to a visitor: you are me (claim.go)
	mailRecord    mailKind = 7  // from a visitor to a user: the whole record
	mailRefused   mailKind = 8  // from a visitor to a user: it belongs to a user already
	mailRename    mailKind = 9  // from a user to an item: a visitor in your lists is me
	mailForward   mailKind = 10 // from a visitor to its user: what came for the visitor
	mailRemove    mailKind = 11 // from a user to an item: take an entity out of your lists
	mailRemains   mailKind = 12 // from a visitor to its user: what a switch has found of the visitor (remains.go)
)

// merges reports whether mails of the kind make a visitor a user: a second state takes
// these alone.
func (k mailKind) merges() bool {
	switch k {
	case mailClaim, mailRecord, mailRefused, mailForward, mailRemains:
		return true
	}
	return false
}

// A Ref identifies a question, a request or a claim. The answer brings it back. It does
// not depend on what other entities do in the same message, so that a fold of one user
// alone finds the answers in its log.
type Ref struct {
	P int    // the partition in which it was asked
	G int64  // the stored time of the last Accept message that it had applied
	S uint64 // the message in whose step it was asked
	H uint64 // the hash of the key of the entity that asked
	O uint64 // a number that the entity gives once while it is not forgotten
}

func (r Ref) append(w *value.Writer) {
	w.Len(r.P)
	w.Int(r.G)
	w.Uint(r.S)
	w.Fixed(r.H)
	w.Uint(r.O)
}

func readRef(r *value.Reader) Ref {
	return Ref{int(r.Uint()), r.Int(), r.Uint(), r.Fixed(), r.Uint()}
}

// encode appends what a mail is in a pack, after its position.
func (m *mail) encode(dst []byte) []byte {
	w := value.Writer{B: slices.Grow(dst, 20+len(m.to)+len(m.from)+len(m.body))}
	w.Int(m.now)
	w.Byte(byte(m.kind))
	w.Text(m.to)
	w.Text(m.from)
	w.B = append(w.B, m.body...)
	return w.B
}

func decodeMail(at Position, b []byte) (mail, error) {
	r := value.Reader{B: b, Alias: true}
	m := mail{at: at, now: r.Int(), kind: mailKind(r.Byte()), to: r.Text(), from: r.Text()}
	m.body = r.B
	if m.kind > mailRemains && r.Err == nil {
		r.Err = fmt.Errorf("a mail of kind %d is not known: %w", m.kind, ErrNewer)
	}
	return m, r.Err
}

// MailTo is the entity that a mail (Effect.Mail, or of EachPacked) goes to; "": it is a
// mark.
func MailTo(b []byte) (key string, err error) {
	m, err := decodeMail(Position{}, b)
	return m.to, err
}

// An outbox holds what a step sends, in the order of rule 20: to users, to budgets,
// to items, to visitors.
type outbox struct {
	mails  []mail
	spends []spending
}

// Strays are how many mails have come that nothing waited for, and RefusedClaims how
// many claims of visitors who belong to a user already.
func (f *Fold) Strays() uint64        { return f.step.strays }
func (f *Fold) RefusedClaims() uint64 { return f.step.refusedClaims }

// Unnamed is how many events about items of kinds have come that the set in force does
// not name, and that changed nothing.
func (f *Fold) Unnamed() uint64 { return f.unnamed }

// send makes a mail of the step's entity.
func (s *step) send(to string, kind mailKind, body []byte) {
	if !s.second {
		s.outbox.mails = append(s.outbox.mails, mail{now: s.now, kind: kind, from: s.entity.Key, to: to, body: body})
	}
}

// newRef is a Ref that no other question has.
func (f *Fold) newRef(e *Entity) Ref {
	e.order++
	return Ref{P: f.partition, G: f.cur.Accepted, S: f.msg.Seq, H: xxhash.Sum64String(e.Key), O: e.order}
}

// Partition tells the fold that its log is that of partition p of n. Without it, as in
// a backtest of a file, there is one partition: mails wait in a queue of the fold's
// own, and brakes are not in effect.
func (f *Fold) Partition(p, n int) {
	f.partition, f.partitions = p, n
	if f.step.unnumbered, f.step.got = n <= 0, nil; n > 0 {
		f.step.got = func(p int) Position { return f.cur.Got[p] }
	}
	f.setBrakes()
}

// local reports whether mails wait in the fold's own queue.
func (f *Fold) local() bool { return f.partitions <= 0 }

// post sends what the step has made.
func (f *Fold) post() {
	out := &f.step.outbox
	f.step.sendSpendings()
	for i := range out.mails {
		m := &out.mails[i]
		switch {
		case f.local():
			f.queue = append(f.queue, *m)
		case f.only == nil && f.wanted == nil: // else other steps are missing, and numbers would be wrong
			f.emitMail(event.Partition(m.to, f.partitions), m, false)
		}
	}
	clear(out.mails)
	out.mails = out.mails[:0]
}

// emitMail gives a mail the next position on its chain. That of a mark is 0.
func (f *Fold) emitMail(q int, m *mail, mark bool) {
	if f.cur.Second {
		return
	}
	name, g := f.mailChain(q), f.cur.Accepted
	ch := f.cur.Chains[name]
	at := Position{N: 1, S: f.msg.Seq, K: ch.K, T: f.msg.Stored, G: g}
	switch {
	case mark:
		at.N, at.G = 0, f.msg.Stored
	case ch.Last.G == g:
		at.N = ch.Last.N + 1
	}
	ch.Last = at
	ch.K++
	if f.cur.Chains == nil {
		f.cur.Chains = map[string]Chain{}
	}
	f.cur.Chains[name] = ch
	f.effects = append(f.effects, Effect{Chain: name, Pos: at, Mail: m.encode(nil)})
}

// mailChain is MailChain, whose names are made once.
func (f *Fold) mailChain(q int) string {
	for len(f.mailChains) <= q {
		f.mailChains = append(f.mailChains, MailChain(len(f.mailChains)))
	}
	return f.mailChains[q]
}

// unpack reads the mails of a message.
func (f *Fold) unpack(m Message) (stamp int64, err error) {
	f.mails = f.mails[:0]
	skip := f.cur.Within
	err = EachPacked(m.Data, func(at Position, b []byte) error {
		one, err := decodeMail(at, b)
		if stamp = one.now; skip > 0 {
			skip--
			return err
		}
		f.mails = append(f.mails, one)
		return err
	})
	return stamp, err
}

// nextMail applies the message's next mail. It returns false if there is none.
func (f *Fold) nextMail() bool {
	if len(f.mails) == 0 {
		return false
	}
	m := &f.mails[0]
	f.step.fromPartition = f.msg.From
	if fresh := f.origin(m); fresh && m.kind == mailMark {
		if f.err == nil && f.lose(func(p int) bool { return p == f.msg.From && p != f.partition }) {
			return true // a step for each entity, then the mark is done
		}
	} else if fresh {
		f.deliver(m, f.mailTime(m))
	}
	if f.cur.Fan == "" && f.err == nil {
		f.passed(m)
	}
	return true
}

// passed ends a mail.
func (f *Fold) passed(m *mail) {
	if got := f.cur.Got[f.msg.From]; after(m.at, got) {
		if f.cur.Got == nil {
			f.cur.Got = map[int]Position{}
		}
		f.cur.Got[f.msg.From] = m.at
	}
	f.mails = f.mails[1:]
	f.cur.Within++
}

// mailTime is the log time of a mail's step. Under clock: event mails do not move log
// time: a partition that has none yet takes that of the sender for the step.
func (f *Fold) mailTime(m *mail) int64 {
	if f.Clock() == campaign.ClockEvent && !f.begun() {
		return m.now
	}
	return f.cur.LogTime
}

// after reports whether a mail of a partition comes after another one of it.
func after(a, b Position) bool {
	return cmp.Or(cmp.Compare(a.G, b.G), cmp.Compare(a.S, b.S), cmp.Compare(a.K, b.K)) > 0
}

// ErrOtherOrigin reports a mail under the number of another one that was applied: the
// sender's log is not the one that it was.
var ErrOtherOrigin = errors.New("a partition's log is not the one that it was")

// origin reports whether a mail is to be applied: it comes after the last one of its
// sender. The same number twice with another origin means that the sender's log is
// another one.
func (f *Fold) origin(m *mail) bool {
	last, any := f.cur.Got[f.msg.From]
	if any && m.at.G == last.G && m.at.N == last.N && m.at != last {
		f.err = fmt.Errorf("message %d: mail %d of partition %d is from its message %d (%d), and the one that was applied under that number from message %d (%d): %w",
			f.msg.Seq, m.at.N, f.msg.From, m.at.S, m.at.T, last.S, last.T, ErrOtherOrigin)
		return false
	}
	return !any || after(m.at, last)
}

// deliver makes the step of a mail.
func (f *Fold) deliver(m *mail, now int64) {
	if f.only != nil && !f.local() && !f.only[m.to] || f.wanted != nil && !f.wanted(m.to) {
		return
	}
	if f.cur.Second && !m.kind.merges() {
		return // the live fold has what it brings
	}
	e, err := f.receiver(m, now)
	if err != nil {
		f.err = err
		return
	}
	id := StepID{Seq: f.msg.Seq, Within: f.cur.Within}
	f.run(id, e, func() []byte { return slices.Clone(m.body) }, func() { f.step.onMail(e, m, now) })
	if e.fan != nil {
		f.cur.Fan = e.Key
	}
	f.stepped(e)
}

// receiver is the entity to which a mail goes. An item that is only asked does not
// change, and need not be stored.
func (f *Fold) receiver(m *mail, now int64) (*Entity, error) {
	if m.kind == mailFeed && onlyAsks(m.body) {
		e, err := f.ents.Read(m.to)
		if err != nil {
			return nil, err
		}
		if e.bind(f.step.live); len(e.renamed) == 0 && !e.forgottenItem(now) {
			return e, nil
		}
	}
	return f.ents.Entity(m.to)
}

// stepped is called after each step of an entity.
func (f *Fold) stepped(e *Entity) {
	f.reschedule(e)
	f.waitsForMail(e)
	f.post()
	if len(f.step.emptied) > 0 {
		f.clearChunks()
	}
	if f.brakes != nil {
		f.brake()
	}
}

// waitsForMail keeps the list of the entities that wait for a mail, and are not due.
func (f *Fold) waitsForMail(e *Entity) {
	if e.open > 0 || len(e.claims) > 0 {
		if f.asking == nil {
			f.asking = map[string]bool{}
		}
		f.asking[e.Key] = true
	} else if len(f.asking) > 0 {
		delete(f.asking, e.Key)
	}
}

// onMail applies a mail at log time now.
func (s *step) onMail(e *Entity, m *mail, now int64) {
	s.start(e, now)
	if e.owner != "" && e.forgotten(now, s.second) {
		e.forget() // a new visitor
	}
	if e.owner != "" && m.kind != mailClaim {
		s.forwardMail(m)
		return
	}
	s.take(m)
}

// take applies a mail to the step's entity.
func (s *step) take(m *mail) {
	r := value.Reader{B: m.body, Alias: true}
	switch m.kind {
	case mailFeed:
		s.onFeed(m, &r)
	case mailAnswer:
		s.onAnswer(m, &r)
	case mailRecipient:
		s.onRecipient(m, &r)
	case mailSpend:
		s.onSpend(m, &r)
	case mailGrant:
		s.onGrant(m, &r)
	case mailClaim:
		s.onClaim(m, &r)
	case mailRecord, mailRefused:
		s.onRecord(m, &r)
	case mailRename:
		s.onRename(m, &r)
	case mailForward:
		s.onForward(&r)
	case mailRemove:
		s.onRemove(&r)
	case mailRemains:
		s.onRemains(m, &r)
	}
	if r.Err != nil {
		panic(fmt.Sprintf("a mail of kind %d to %s: %v", m.kind, m.to, r.Err)) // a dead letter of this step
	}

}
