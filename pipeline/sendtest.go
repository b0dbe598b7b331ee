package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A RenderQuery asks for a campaign's offer to one user, as a test.
type RenderQuery struct {
	Campaign string          `json:"campaign"`        // its name, or name/row
	Row      string          `json:"row,omitempty"`   // of a campaign with for_each
	Event    json.RawMessage `json:"event,omitempty"` // the trigger; what it lacks of type, name, user and messageId is filled in
	Nonce    string          `json:"nonce"`           // makes the offer's id differ from that of any other
	Now      int64           `json:"-"`               // the offer's time, if log time is before it
}

// A Rendering is a test offer. It went out nowhere.
type Rendering struct {
	Offer *Offer   `json:"offer"`
	Known bool     `json:"known"` // false: the user has no events, so the offer is rendered with an empty state
	With  string   `json:"with"`  // which event the templates read, in words
	Stops []string `json:"stops"` // what would stop a real offer now, in words
}

// Render renders the offer of a campaign for the user with an entity key, with the
// state now. It works on a copy and changes nothing, counts nothing, and passes no
// gate. Its event is the one given, else the newest that the campaign keeps of the
// user's, else one that is made up and has no fields. Codes of coupons are
// coupon.Placeholder. Items are in other partitions: their features are what was
// answered for the event that the campaign keeps, else empty.
func (f *Fold) Render(key string, q RenderQuery) (*Rendering, error) {
	i, err := f.step.live.named(q.Campaign, q.Row)
	if err != nil {
		return nil, err
	}
	e, err := f.copyOf(key)
	if err != nil {
		return nil, err
	}
	live := *f.step.live
	live.tally, live.couponKey, live.campaigns = newTally(), nil, slices.Clone(live.campaigns)
	for i := range live.campaigns {
		live.campaigns[i].counts = nil
	}
	s := step{live: &live, read: f.ents.Look}
	now := max(f.cur.LogTime, q.Now)
	s.start(e, now)
	if e.forgotten(now, false) {
		e.forget()
	}
	s.settled()
	t := rendering{step: &s, unit: &live.campaigns[i], query: &q, Rendering: Rendering{Known: !e.Empty(), Stops: []string{}}}
	return &t.Rendering, t.render()
}

// named is the index of the unit with a campaign's name and a row's.
func (l *liveSet) named(name, row string) (int, error) {
	id := name
	if row != "" {
		id += "/" + row
	}
	if i, ok := l.unitIndex[id]; ok {
		return int(i), nil
	}
	name, row, _ = strings.Cut(id, "/")
	var names, rows []string
	for i := range l.def.Campaigns {
		c := &l.def.Campaigns[i]
		names = append(names, c.ID)
		if c.ID != name {
			continue
		}
		for _, r := range c.Rows {
			rows = append(rows, r.ID)
		}
		if rows == nil {
			return 0, fmt.Errorf("campaign %s has no rows: leave --row out", name)
		}
	}
	switch {
	case len(names) == 0:
		return 0, errors.New("no campaign set is in force: apply one with offerctl apply")
	case rows == nil:
		return 0, fmt.Errorf("the set in force has no campaign %s%s", name, oneOf(name, names))
	case row == "":
		return 0, fmt.Errorf("campaign %s has a row for each offer: add --row ROW%s", name, oneOf("", rows))
	}
	return 0, fmt.Errorf("campaign %s has no row %s%s", name, row, oneOf(row, rows))
}

// mostNames is how many names an error lists.
const mostNames = 12

// oneOf names the nearest of the known names, else some of them.
func oneOf(name string, known []string) string {
	if near := campaign.Nearest(name, known); near != "" {
		return ": did you mean " + near + "?"
	}
	text := ": it is one of " + strings.Join(known[:min(len(known), mostNames)], ", ")
	if len(known) > mostNames {
		text += fmt.Sprintf(" and %d others", len(known)-mostNames)
	}
	return text
}

// A rendering is a test offer that is being rendered.
type rendering struct {
	Rendering
	step   *step
	unit   *liveCampaign
	query  *RenderQuery
	dec    event.Decoder
	madeUp bool
}

func (t *rendering) render() error {
	s, c := t.step, t.unit
	e := evaluation{pending: pending{campaign: c.id, trigger: c.trigger, since: c.since, firstDue: NoDue, held: NoDue, c: c},
		began: s.now, before: s.entity, ended: c.atSessionEnd()}
	if err := t.choose(&e); err != nil {
		return err
	}
	t.judge(&e)
	o, err := s.offer(&e, testID(c.id, s.entity.Key, t.query.Nonce))
	if err != nil {
		return t.explain(&e, err)
	}
	o.Test = true
	t.Offer = o
	return nil
}

// testID is the identity of a test offer: as OfferID, but over other bytes than
// that of any real offer, of which the first four are the length of a campaign's id.
func testID(of ...string) string {
	b := []byte("test offer")
	for _, s := range of {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// choose gives the evaluation its event and match key.
func (t *rendering) choose(e *evaluation) error {
	if len(t.query.Event) > 0 {
		return t.given(e)
	}
	var newest *pending
	for i := range t.step.entity.waiting {
		if w := &t.step.entity.waiting[i]; w.c == t.unit && (newest == nil || w.order > newest.order) {
			newest = w
		}
	}
	if newest == nil {
		return t.makeUp(e)
	}
	ev, err := t.dec.Decode(newest.stored.event())
	if err != nil {
		return fmt.Errorf("the event that the campaign keeps: %w", err)
	}
	ev.Time, ev.Bare = newest.stored.time, t.step.live.bareUser()
	t.step.nameItem(ev, t.unit)
	e.event, e.entry, e.key = ev, newest.entry, newest.key
	if newest.ask != nil && newest.ask.items != nil { // the item's values, as they were answered
		e.with().items = newest.ask.items
	}
	t.With = fmt.Sprintf("the newest event of the user with which the campaign waits (%s), of %s", titled(ev), value.FormatTime(newest.stored.at))
	return nil
}

// given decodes the event of the query.
func (t *rendering) given(e *evaluation) error {
	ev, err := t.complete(t.query.Event)
	if err != nil {
		return fmt.Errorf("--event: %w", err)
	}
	e.event = ev
	if own := ev.Timestamp; ev.HasTimestamp {
		ev.Time = max(min(own, t.step.now), value.Minus(t.step.now, int64(t.step.live.def.Lateness)))
		ev.Bare = t.step.live.bareUser()
	}
	t.With = "the event given (" + titled(ev) + ")"
	if t.unit.items != nil {
		t.step.eachItem(ev, t.unit.items.kind, func(_ int, _ *fastjson.Value, key string) {
			if e.key == "" {
				e.key = strings.Clone(key)
			}
		})
		return nil
	}
	if m := e.triggered().match; e.triggered().unless != nil && !m.none() {
		// An event without a key triggers nothing, and is rendered nevertheless.
		_ = m.each(t.step.judge(e), func(key string, i int, _ *fastjson.Value) {
			if i == 0 {
				e.key = strings.Clone(key)
			}
		})
	}
	return nil
}

// makeUp makes an event of the name that triggers the campaign.
func (t *rendering) makeUp(e *evaluation) (err error) {
	t.madeUp = true
	if e.event, err = t.complete([]byte("{}")); err != nil {
		return err
	}
	t.With = "a made-up event (" + titled(e.event) + ") without properties"
	if e.ended {
		t.With = "no event, as the end of a session has none"
	}
	return nil
}

func titled(ev *event.Event) string {
	if ev.Type == event.Track || ev.Name == "" {
		return strings.TrimSpace(ev.Type.String() + " " + ev.Name)
	}
	return ev.Type.String() + " " + ev.Name
}

// complete decodes an event of the user, and adds what it lacks.
func (t *rendering) complete(raw []byte) (*event.Event, error) {
	v, err := fastjson.ParseBytes(raw)
	if err != nil {
		return nil, err
	}
	if v.Type() != fastjson.TypeObject {
		return nil, errors.New(`it is not a JSON object, such as {"properties":{"product_id":"b1"}}`)
	}
	var arena fastjson.Arena
	add := func(name, text string) {
		if !v.Exists(name) && text != "" {
			v.Set(name, arena.NewString(text))
		}
	}
	typ, name := t.triggerEvent()
	if string(v.GetStringBytes("type")) == event.Item.String() {
		return t.completeItem(v, add, name)
	}
	add("type", typ.String())
	if string(v.GetStringBytes("type")) == typ.String() {
		add(event.Types[typ].NameField, name)
	}
	if key := t.step.entity.Key; !v.Exists("userId") && !v.Exists("anonymousId") && key[0] == 'u' {
		add("userId", key[2:])
	} else if key[0] == 'a' {
		add("anonymousId", key[2:])
	}
	add("messageId", "test-"+t.query.Nonce)
	ev, err := t.dec.AdmitLive(v.MarshalTo(nil), 0)
	switch {
	case err != nil:
		return nil, err
	case ev.Key != t.step.entity.Key:
		return nil, fmt.Errorf("it is an event of user %s: leave userId and anonymousId out", ev.User())
	case ev.TimestampErr != nil:
		return nil, ev.TimestampErr
	}
	ev.Time, ev.Bare = t.step.now, t.step.live.bareUser()
	return ev, nil
}

// completeItem decodes an event about an item, of no person.
func (t *rendering) completeItem(v *fastjson.Value, add func(name, text string), name string) (*event.Event, error) {
	if !t.unit.toUsers() {
		return nil, fmt.Errorf("an event about an item triggers only campaigns with `to`, and %s has none: leave its type out", t.unit.def.ID)
	}
	kind := t.step.live.def.Items[t.unit.items.kind].Kind
	add("kind", kind)
	add("event", name)
	add("messageId", "test-"+t.query.Nonce)
	ev, err := t.dec.AdmitLive(v.MarshalTo(nil), 0)
	switch {
	case err != nil:
		return nil, err
	case ev.Kind != kind:
		return nil, fmt.Errorf("it is about a %s, and the campaign's items are of the kind %s", ev.Kind, kind)
	case ev.TimestampErr != nil:
		return nil, ev.TimestampErr
	}
	t.step.nameItem(ev, t.unit)
	ev.Time = t.step.now
	return ev, nil
}

// triggerEvent is the type and the name of an event that triggers the campaign, as
// far as `on` tells.
func (t *rendering) triggerEvent() (event.Type, string) {
	def := t.unit.def
	on := def.On
	switch {
	case len(def.Any) > 0:
		on = def.Any[0].On
	case def.Sequence != nil:
		on = def.Sequence.Steps[len(def.Sequence.Steps)-1].On
	}
	switch {
	case len(on) == 0 || on[0] == campaign.SessionEnd || on[0] == "*":
		return event.Track, "Test"
	case event.Selected(on[0]) != 0:
		return event.Selected(on[0]), ""
	}
	return event.Track, on[0]
}

// explain tells what to do about an offer that cannot be rendered.
func (t *rendering) explain(e *evaluation, err error) error {
	of := "for this user now"
	if !t.Known {
		of = "for this user, of whom nothing is known"
	}
	if errors.Is(err, errNoChoice) {
		return fmt.Errorf("campaign %s cannot be rendered %s: `choose` gives nothing: %s", t.unit.id, of, onOneLine(t.unit.def.Choose))
	}
	lacks := t.lacking(e.event)
	if len(lacks) == 0 {
		return fmt.Errorf("campaign %s cannot be rendered %s: %w", t.unit.id, of, err)
	}
	names := make([]string, len(lacks))
	for i, path := range lacks {
		names[i] = "event." + strings.Join(path, ".")
	}
	which := "the event"
	if t.madeUp {
		which = "the made-up event"
	}
	return fmt.Errorf("campaign %s cannot be rendered: %w: it reads %s, which %s lacks: pass --event '%s' with real values", t.unit.id, err, strings.Join(names, " and "), which, example(lacks))
}

// lacking are the paths of the event that the campaign reads after its trigger, and
// that the event does not have.
func (t *rendering) lacking(ev *event.Event) (paths [][]string) {
	if t.unit.atSessionEnd() {
		return nil
	}
	for _, path := range t.unit.afterAbsence.Paths() {
		if v := ev.Get(path...); v == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// example is an event with values at these paths.
func example(paths [][]string) string {
	var arena fastjson.Arena
	root := arena.NewObject()
	for _, path := range paths {
		in := root
		for _, name := range path[:len(path)-1] {
			if in.Get(name) == nil {
				in.Set(name, arena.NewObject())
			}
			in = in.Get(name)
		}
		last := arena.NewString("...")
		if len(path) == 1 {
			last = arena.NewObject()
		}
		if name := path[len(path)-1]; in.Get(name) == nil {
			in.Set(name, last)
		}
	}
	return string(root.MarshalTo(nil))
}
