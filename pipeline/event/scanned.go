package event

// A Scanned is what a Decoder has found out about an event, without the memory that
// the decoder uses again. With it and the event's bytes, any Decoder has the event at
// once.
type Scanned struct {
	found [noMember]span
	name  string
	times [4]int64
	typ   Type
	flags scannedFlags
}

type scannedFlags struct{ timestamp, sentAt, receivedAt, logTime, sentAtOriginal, noProof, anonymous bool }

// Scanned is what the decoder has found out about its event. ok is false for the few
// events that have to be decoded again.
func (d *Decoder) Scanned() (s Scanned, ok bool) {
	ev := &d.ev
	if ev.Root != nil {
		return s, false
	}
	s = Scanned{
		name: ev.Name, typ: ev.Type, times: [...]int64{ev.Timestamp, ev.SentAt, ev.ReceivedAt, ev.LogTime},
		flags: scannedFlags{ev.HasTimestamp, ev.HasSentAt, ev.HasReceived, ev.HasLogTime, ev.SentAtOriginal, ev.NoProof, ev.Key[0] == 'a'},
	}
	copy(s.found[:], d.found[:])
	return s, true
}

// Resume makes an event that was scanned the decoder's. raw is the event's bytes.
func (d *Decoder) Resume(raw []byte, s *Scanned) *Event {
	copy(d.found[:], s.found[:])
	for i := range d.objects {
		d.objects[i].parsed = nil
	}
	d.ev = Event{
		Raw: raw, dec: d, Type: s.typ, Name: s.name, HasID: true,
		Timestamp: s.times[0], SentAt: s.times[1], ReceivedAt: s.times[2], LogTime: s.times[3],
		HasTimestamp: s.flags.timestamp, HasSentAt: s.flags.sentAt, HasReceived: s.flags.receivedAt, HasLogTime: s.flags.logTime,
		SentAtOriginal: s.flags.sentAtOriginal, NoProof: s.flags.noProof,
	}
	d.ev.ID = aliasPlainText(d.member(inMessageID))
	if s.flags.anonymous {
		d.setKey("a:", aliasPlainText(d.member(inAnonymousID)))
	} else {
		d.setKey("u:", aliasPlainText(d.member(inUserID)))
	}
	return &d.ev
}
