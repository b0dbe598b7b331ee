package pipeline

import (
	"errors"
	"fmt"
	"slices"

	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// RecordVersion counts the changes of what an entity's bytes and a Cursor's
// JSON mean. A binary reads every version from oldestRecord on, and writes its
// own. So a part that is added gets a section of its own, or stands at the end
// of one and is read from the version on that has it.
const (
	RecordVersion = 3
	oldestRecord  = 3
)

// ErrNewer says that a record was written by a newer version, which alone can
// read it. It is no damage.
var ErrNewer = errors.New("a newer version wrote it: run that version")

// ReadsRecords says why this binary cannot read records of a version, nil where
// it can: ErrNewer where a newer one wrote them.
func ReadsRecords(version int) error {
	switch {
	case version > RecordVersion:
		return fmt.Errorf("their version is %d, this binary knows %d: %w", version, RecordVersion, ErrNewer)
	case version < oldestRecord:
		return fmt.Errorf("their version is %d, this binary reads %d and later", version, oldestRecord)
	}
	return nil
}

// An entity's bytes are the version and sections in the order of their
// numbers (value.Writer.Section). Framing and checksum are the store's. The
// numbers are append only.
const (
	sectionEvents   = 1 // how many, the last one's log time, order
	sectionRing     = 2
	sectionTraits   = 3
	sectionSession  = 4
	sectionFeatures = 5
	sectionWaiting  = 6 // the events that evaluations were set by, each once; the evaluations
	sectionSent     = 7 // by campaign
	sectionChannels = 8 // by channel
	sectionOffers   = 9 // ids
)

// AppendBinary appends the entity's bytes to dst.
func (e *Entity) AppendBinary(dst []byte) []byte {
	w := value.Writer{B: dst}
	w.Byte(RecordVersion)
	w.Section(sectionEvents, func() {
		w.Uint(e.seq)
		w.Int(e.last)
		w.Uint(e.order)
	})
	w.Section(sectionRing, func() { w.B = append(w.B, e.ring...) })
	list := func(n int, item func(i int)) { // nothing where there are none, so that the section is left out
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
		list(len(e.offers), func(i int) { w.Text(e.offers[i]) })
	})
	return w.B
}

// DecodeEntity reads what AppendBinary wrote, here or in an older version from
// oldestRecord on. A newer version's record is ErrNewer. The entity keeps no
// part of b: it lives in a copy, whose pieces move out as they grow.
func DecodeEntity(key string, b []byte) (*Entity, error) {
	r := value.Reader{B: slices.Clone(b), Alias: true}
	e := &Entity{Key: key, loaded: true}
	err := ReadsRecords(int(r.Byte()))
	if r.Err != nil {
		err = r.Err
	}
	if err == nil && len(r.B) == 0 {
		err = value.ErrShort // sectionEvents is always there
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
	e.scheduled = e.Due()
	return e, nil
}

// section reads one section.
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
	case sectionSent:
		e.sent = readList(r, 3, func() sent { return sent{r.Text(), r.Uint(), r.Times()} })
	case sectionChannels:
		e.channels = readList(r, 2, func() channelSent { return channelSent{r.Text(), r.Times()} })
	case sectionOffers:
		e.offers = readList(r, 1, r.Text)
	default:
		return fmt.Errorf("section %d is unknown", number)
	}
	if err := r.Done(); err != nil {
		return fmt.Errorf("section %d: %w", number, err)
	}
	return nil
}

// readList reads how many there are, and each, which takes at least size bytes.
func readList[T any](r *value.Reader, size int, item func() T) []T {
	all := make([]T, r.Len(size))
	for i := range all {
		all[i] = item()
	}
	return all
}

// appendWaiting writes each stored event once, however many evaluations wait
// with it.
func appendWaiting(w *value.Writer, evs []evaluation) {
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
		w.Bytes(ev.raw)
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
		w.Text(e.key)
		w.Uint(e.order)
		w.Len(slices.Index(events, e.stored))
	}
}

func readWaiting(r *value.Reader) []evaluation {
	events := readList(r, 3, func() *storedEvent { return &storedEvent{time: r.Int(), at: r.Int(), raw: r.Bytes()} })
	return readList(r, 16, func() evaluation {
		e := evaluation{stage: stage(r.Byte()), due: r.Int()}
		e.firstDue = e.due - r.Int()
		e.campaign, e.trigger, e.since, e.key, e.order = r.Text(), r.Fixed(), uint32(r.Uint()), r.Text(), r.Uint()
		i := r.Uint()
		if i >= uint64(len(events)) || !e.stage.waits() {
			r.Fail(fmt.Errorf("an evaluation waits in stage %d with event %d", e.stage, i))
			return evaluation{}
		}
		e.stored = events[i]
		e.stored.uses++
		return e
	})
}
