package pipeline

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/common/types/ref"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A fact is what came last from outside about one key of a declared fact
// (LANGUAGE.md, rule 26). It is the state of an entity of its own, with the key
// "f:" + fact + ":" + key, in every partition; the entity "f:" + fact counts them.
type fact struct {
	time   int64  // when it was given
	raw    []byte // its values, a JSON object; nil: the entity counts the keys of a fact
	keys   uint64 // of the entity that counts: the number of keys
	parsed *fastjson.Value
}

// factPrefix begins the keys of entities that are facts.
const factPrefix = "f:"

// mostFactKeys bounds the keys of one fact.
const mostFactKeys = 100_000

// takeFact applies an event that is a fact, at log time now. One that the set does
// not declare changes nothing; the same goes for one that is older than what is
// known. own is the event's own time.
func (f *Fold) takeFact(ev *event.Event, now, own int64) error {
	features := f.step.live.tally.features
	if f.step.live.facts[ev.Name] == nil {
		f.undeclared++
		return nil
	}
	known, err := f.ents.Read(ev.Key)
	if err != nil {
		return err
	}
	given := min(own, now)
	if known.fact == nil {
		count, err := f.ents.Entity(factPrefix + ev.Name)
		if err != nil {
			return err
		}
		if count.fact == nil {
			count.fact = &fact{}
		}
		if count.fact.keys >= mostFactKeys {
			features.Bounds++
			return nil
		}
		count.seq++
		count.fact.keys++
	} else if given < known.fact.time {
		return nil
	}
	e, err := f.ents.Entity(ev.Key)
	if err != nil {
		return err
	}
	e.seq++
	e.fact = &fact{time: given, raw: []byte("{}")} // for [], which PHP writes for an empty map
	if v := ev.Root.Get("values"); v.Type() == fastjson.TypeObject {
		e.fact.raw = value.AppendCompact(nil, v)
	}
	return nil
}

// Undeclared is the number of facts that no set in force declared, and that changed
// nothing.
func (f *Fold) Undeclared() uint64 { return f.undeclared }

// values are the values of a fact.
func (f *fact) values() *fastjson.Value {
	if f.parsed == nil {
		var p fastjson.Parser
		v, err := value.Parse(&p, f.raw)
		if err != nil { // cannot happen: it is a part of an event that was decoded
			return event.NoObject
		}
		f.parsed = v
	}
	return f.parsed
}

// A factSource is a declared fact as an expression sees it: a map from its keys.
type factSource struct {
	s *scope
	f *campaign.Fact
}

func factMap(s *scope, f *campaign.Fact) ref.Val { return value.Map{Source: factSource{s, f}} }

// find is the fact with a key, nil if it was never given or is too old.
func (f factSource) find(key string) *fact {
	e, err := f.s.read(factPrefix + f.f.Name + ":" + key)
	if err != nil || e.fact == nil || f.f.MaxAge > 0 && e.fact.time <= value.Minus(f.s.now, int64(f.f.MaxAge)) {
		return nil
	}
	return e.fact
}

func (f factSource) Find(key string) (ref.Val, bool) {
	found := f.find(strings.Clone(key))
	if found == nil {
		return nil, false
	}
	return value.Map{Source: value.Object{V: found.values()}}, true
}

func (f factSource) Has(key string) bool { return f.find(key) != nil }

// Keys and Size are those of no key: what is known of a fact is looked up by key
// only (expr refuses all else).
func (f factSource) Keys() []string { return nil }
func (f factSource) Size() int      { return 0 }

// EachTableRow calls fn with each row of the tables of a set's facts, as a fact given
// at a time, and returns how many fn has taken. The event is valid until fn returns.
func EachTableRow(def *campaign.Definition, at int64, fn func(*event.Event) error) (rows uint64, err error) {
	var dec event.Decoder
	given := fmt.Sprintf(`"timestamp":%q`, value.FormatTime(at))
	for _, f := range def.Facts {
		for _, r := range f.Rows {
			ev, err := dec.AdmitLine(event.AppendFact(nil, f.Name, r.ID, r.Values, given))
			if err == nil {
				err = fn(ev)
			}
			if err != nil {
				return rows, fmt.Errorf("fact %s, key %q of its table: %w", f.Name, r.ID, err)
			}
			rows++
		}
	}
	return rows, nil
}
