package pipeline

import (
	"errors"
	"fmt"
	"slices"

	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// RecordVersion is the version of the records of entities and of the JSON of
// Cursors; it grows whenever their meaning changes. A binary reads versions from
// oldestRecord to RecordVersion, and writes RecordVersion. New data go into a new
// section, or at the end of an existing one, where only versions that have them
// are read for them.
const (
	RecordVersion = 7 // 7: what engine 5 needs (from sectionViews on, but for sectionOut); Cursor.Got to Cursor.Fan
	oldestRecord  = 6
)

// ErrNewer reports that a record was written by a newer version of the program,
// which must be used to read it. The record is not damaged.
var ErrNewer = errors.New("a newer version wrote it: run that version")

// ReadsRecords returns nil if this binary can read records of a version, else
// the reason why it cannot: ErrNewer if a newer version wrote them.
func ReadsRecords(version int) error {
	switch {
	case version > RecordVersion:
		return fmt.Errorf("record version %d, this binary knows %d: %w", version, RecordVersion, ErrNewer)
	case version < oldestRecord:
		return fmt.Errorf("record version %d, this binary reads %d and later: run the version that wrote it, or begin a new deployment (--prefix)", version, oldestRecord)
	}
	return nil
}

// The record of an entity is the version, then sections in the order of their
// numbers (value.Writer.Section). The store adds framing and a checksum. The
// number of a section never changes.
const (
	sectionEvents    = 1 // number of events, log time of the last one, order
	sectionRing      = 2
	sectionTraits    = 3
	sectionSession   = 4
	sectionFeatures  = 5
	sectionWaiting   = 6  // the triggers of pending evaluations, each once; the evaluations
	sectionSent      = 7  // by campaign
	sectionChannels  = 8  // by channel
	sectionOffers    = 9  // ids
	sectionConsent   = 10 // by channel
	sectionSequences = 11 // by unit
	sectionFact      = 12 // of an entity that is a fact
	sectionViews     = 14 // the last view, and the log times of the session's views
	sectionAsked     = 15 // of pending evaluations: what they have asked for, and what they were given
	sectionMerge     = 16 // of a visitor the user that it has become; of a user the claims, the lists that hold it, and the consents without proof
	sectionItem      = 17 // of an item: visitors who have become users, and what it is sending
	sectionBudget    = 18
	sectionPool      = 19
	sectionCodes     = 20 // of a chunk of a pool
	sectionMerged    = 21 // of a user the visitors that have become it; of a visitor the claim, and what a switch has found of it
	sectionCoupons   = 22 // those with which offers went out
	sectionOut       = 13 // of the offers in sectionOffers: the place of the campaign in sectionSent, the match key, the time
)

// AppendBinary appends the entity's record to dst.
func (e *Entity) AppendBinary(dst []byte) []byte {
	w := value.Writer{B: dst}
	w.Byte(RecordVersion)
	w.Section(sectionEvents, func() {
		w.Uint(e.seq)
		w.Int(e.last)
		w.Uint(e.order)
	})
	w.Section(sectionRing, func() { w.B = append(w.B, e.ring...) })
	list := func(n int, item func(i int)) { // writes nothing for n = 0, so that the section is left out
		if n > 0 {
			w.Len(n)
		}
		for i := range n {
			item(i)
		}
	}
	w.Section(sectionTraits, func() {
		list(len(e.traits), func(i int) { w.Text(e.traits[i].name); w.Value(e.traits[i].value) })
	})
	w.Section(sectionSession, func() { e.session.append(&w) })
	w.Section(sectionFeatures, func() {
		list(len(e.states), func(i int) { e.states[i].Append(&w) })
	})
	w.Section(sectionWaiting, func() { appendWaiting(&w, e.waiting) })
	w.Section(sectionSent, func() {
		list(len(e.sent), func(i int) { w.Text(e.sent[i].campaign); w.Uint(e.sent[i].ever); w.Times(e.sent[i].times) })
	})
	w.Section(sectionChannels, func() {
		list(len(e.channels), func(i int) { w.Text(e.channels[i].channel); w.Times(e.channels[i].times) })
	})
	w.Section(sectionOffers, func() {
		list(len(e.offers), func(i int) { w.Text(e.offers[i].id) })
	})
	w.Section(sectionConsent, func() {
		list(len(e.consent), func(i int) {
			w.Text(e.consent[i].channel)
			w.Int(e.consent[i].time)
			w.Byte(truth(e.consent[i].granted))
		})
	})
	w.Section(sectionSequences, func() {
		list(len(e.sequences), func(i int) {
			q := &e.sequences[i]
			w.Text(q.campaign)
			w.Fixed(q.trigger)
			w.Uint(uint64(q.since))
			w.Times(q.starts)
		})
	})
	w.Section(sectionFact, func() {
		if e.fact != nil {
			w.Int(e.fact.time)
			w.Bytes(e.fact.raw)
			w.Uint(e.fact.keys)
		}
	})
	w.Section(sectionOut, func() {
		if !slices.ContainsFunc(e.offers, func(o remembered) bool { return o.campaign != "" }) {
			return
		}
		list(len(e.offers), func(i int) {
			o := &e.offers[i]
			w.Uint(uint64(1 + slices.IndexFunc(e.sent, func(s sent) bool { return s.campaign == o.campaign })))
			w.Text(o.key)
			w.Int(o.at)
		})
	})
	e.appendLinks(&w)
	return w.B
}

// DecodeEntity reads a record that AppendBinary of this version, or of an older
// one down to oldestRecord, wrote. The record of a newer version is ErrNewer.
// The entity does not alias b: it uses a copy, from which parts move out as
// they grow.
func DecodeEntity(key string, b []byte) (*Entity, error) {
	r := value.Reader{B: slices.Clone(b), Alias: true}
	e := &Entity{Key: key, loaded: true}
	err := ReadsRecords(int(r.Byte()))
	if r.Err != nil {
		err = r.Err
	}
	if err == nil && len(r.B) == 0 {
		err = value.ErrShort // every record has sectionEvents
	}
	for number := uint64(0); err == nil && len(r.B) > 0; {
		var body value.Reader
		number, body = r.Section(number)
		if err = r.Err; err == nil {
			err = e.section(number, &body)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("entity %q: %w", key, err)
	}
	if e.scheduled = e.Due(); e.scheduled == DueByMail {
		e.scheduled = NoDue
	}
	return e, nil
}

// section decodes one section.
func (e *Entity) section(number uint64, r *value.Reader) error {
	switch number {
	case sectionEvents:
		e.seq, e.last, e.order = r.Uint(), r.Int(), r.Uint()
	case sectionRing:
		e.ring, r.B = r.B, nil
		e.tag()
	case sectionTraits:
		e.traits = readList(r, 2, func() trait { return trait{r.Text(), r.Value()} })
	case sectionSession:
		e.session.read(r)
	case sectionFeatures:
		e.states = readList(r, window.StateBytes, func() window.State { return window.ReadState(r) })
	case sectionWaiting:
		e.waiting = readWaiting(r)
		for i := range e.waiting {
			e.waits(&e.waiting[i], 1)
		}
	case sectionSent:
		e.sent = readList(r, 3, func() sent { return sent{r.Text(), r.Uint(), r.Times()} })
	case sectionChannels:
		e.channels = readList(r, 2, func() channelSent { return channelSent{r.Text(), r.Times()} })
	case sectionOffers:
		e.offers = readList(r, 1, func() remembered { return remembered{id: r.Text()} })
	case sectionConsent:
		e.consent = readList(r, 3, func() consent { return consent{channel: r.Text(), time: r.Int(), granted: r.Byte() != 0} })
	case sectionFact:
		e.fact = &fact{time: r.Int(), raw: r.Bytes(), keys: r.Uint()}
		if len(e.fact.raw) == 0 {
			e.fact.raw = nil
		}
	case sectionOut:
		e.readOut(r)
	case sectionSequences:
		e.sequences = readList(r, 11, func() sequence { return sequence{r.Text(), r.Fixed(), uint32(r.Uint()), r.Times()} })
	default:
		return e.link(number, r)
	}
	return done(number, r)
}

// done ends a section.
func done(number uint64, r *value.Reader) error {
	if err := r.Done(); err != nil {
		return fmt.Errorf("section %d: %w", number, err)
	}
	return nil
}

// readOut reads what is remembered of the offers whose ids were read before.
func (e *Entity) readOut(r *value.Reader) {
	if n := r.Len(3); n != len(e.offers) {
		r.Fail(fmt.Errorf("%d offers, and %d ids of them", n, len(e.offers)))
		return
	}
	for i := range e.offers {
		campaign := r.Uint()
		if campaign > uint64(len(e.sent)) {
			r.Fail(fmt.Errorf("offer %d is of campaign %d, and %d have sent any", i, campaign, len(e.sent)))
			return
		}
		if campaign > 0 {
			e.offers[i].campaign = e.sent[campaign-1].campaign
		}
		e.offers[i].key, e.offers[i].at = r.Text(), r.Int()
	}
}

// truth is a bool as a byte.
func truth(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// readList reads a list: its length, and its elements, each of at least size
// bytes.
func readList[T any](r *value.Reader, size int, item func() T) []T {
	all := make([]T, r.Len(size))
	for i := range all {
		all[i] = item()
	}
	return all
}

// appendWaiting writes pending evaluations. It writes each trigger once, even
// if several evaluations are pending with it.
func appendWaiting(w *value.Writer, evs []pending) {
	if len(evs) == 0 {
		return
	}
	var few [8]*storedEvent
	events := few[:0]
	for i := range evs {
		if !slices.Contains(events, evs[i].stored) {
			events = append(events, evs[i].stored)
		}
	}
	w.Len(len(events))
	for _, ev := range events {
		w.Int(ev.time)
		w.Int(ev.at)
		w.Len(int(ev.size))
		w.Bytes(ev.event())
		w.Bytes(ev.before())
	}
	w.Len(len(evs))
	for i := range evs {
		e := &evs[i]
		w.Byte(byte(e.stage))
		w.Int(e.due)
		w.Int(e.due - e.firstDue)
		w.Text(e.campaign)
		w.Fixed(e.trigger)
		w.Uint(uint64(e.since))
		w.Byte(e.entry)
		if w.Byte(truth(e.held != NoDue)); e.held != NoDue {
			w.Int(e.held)
		}
		w.Text(e.key)
		w.Uint(e.order)
		w.Len(slices.Index(events, e.stored))
	}
}

// readWaiting reads the output of appendWaiting.
func readWaiting(r *value.Reader) []pending {
	events := readList(r, 5, func() *storedEvent {
		ev := &storedEvent{time: r.Int(), at: r.Int(), size: int32(r.Uint()), raw: r.Bytes()}
		ev.json = int32(len(ev.raw))
		if before := r.Bytes(); len(before) > 0 {
			ev.raw = slices.Concat(ev.raw, before)
		}
		return ev
	})
	return readList(r, 18, func() pending {
		e := pending{stage: stage(r.Byte()), due: r.Int()}
		e.firstDue = e.due - r.Int()
		e.campaign, e.trigger, e.since, e.entry, e.held = r.Text(), r.Fixed(), uint32(r.Uint()), r.Byte(), NoDue
		if r.Byte() != 0 {
			e.held = r.Int()
		}
		e.key, e.order = r.Text(), r.Uint()
		i := r.Uint()
		if i >= uint64(len(events)) || !e.stage.waits() {
			r.Fail(fmt.Errorf("an evaluation waits in stage %d with event %d", e.stage, i))
			return pending{}
		}
		e.stored = events[i]
		e.stored.uses++
		return e
	})
}
