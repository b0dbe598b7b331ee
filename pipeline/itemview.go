package pipeline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// An Item is what is stored about one item, as expressions would read it at log time
// Now. Times are RFC 3339 in UTC.
type Item struct {
	Key      string                     `json:"key"` // of its entity
	Kind     string                     `json:"kind"`
	ID       string                     `json:"id"`
	Known    bool                       `json:"known"`                 // false: the item has had no update, or is forgotten
	Now      string                     `json:"now,omitempty"`         // log time
	Last     string                     `json:"last_update,omitempty"` // log time of the last update
	Forget   string                     `json:"forgotten,omitempty"`   // log time at which it is forgotten without a further update
	Size     ItemSize                   `json:"size"`
	Features map[string]json.RawMessage `json:"features"`          // as expressions read them; a feature with `by` is an object by key, a list of users an ItemUsers
	Sending  []ItemSending              `json:"sending,omitempty"` // campaigns whose offers the item is sending to users, in order
	Renamed  []string                   `json:"renamed,omitempty"` // visitors who have become users, and of whom earlier events may still come
}

// An ItemSize is how much is held of an item, and how much may be (LANGUAGE.md, rule
// 21). Lists of users are outside both.
type ItemSize struct {
	Entries        int `json:"entries"`
	MostEntries    int `json:"most_entries"`
	EntryBytes     int `json:"entry_bytes"`
	MostEntryBytes int `json:"most_entry_bytes"`
}

// An ItemUsers is a list of users: the oldest FirstUsers of them are named.
type ItemUsers struct {
	Size  int      `json:"size"`
	Keep  int      `json:"keep"` // at most
	First []string `json:"first"`
}

// An ItemSending is a campaign with `to` whose offer is on its way to a list of users.
type ItemSending struct {
	Campaign string `json:"campaign"`
	List     string `json:"list"` // the feature; "": the set in force lacks it, and nobody more is told
	Told     int    `json:"told"` // users of the list who have been told
	Of       int    `json:"of"`
}

// FirstUsers is how many users of a list an Item names.
const FirstUsers = 10

// Item shows the item with an entity key (ItemKey). It works on a copy and changes
// nothing, as User does. A kind that the set in force does not have is an error.
func (f *Fold) Item(key string) (*Item, error) {
	kind, id := splitItemKey(key)
	k, ok := f.step.live.kinds[kind]
	if !ok {
		return nil, f.step.live.noKind(kind)
	}
	e, err := f.copyOf(key)
	if err != nil {
		return nil, err
	}
	live := *f.step.live
	live.tally = newTally()
	e.bind(&live)
	now := f.cur.LogTime
	if e.forgottenItem(now) {
		e.forget()
	}
	e.drop(now)
	v := &Item{Key: key, Kind: kind, ID: id, Known: !e.Empty(), Features: map[string]json.RawMessage{},
		Size: ItemSize{e.size.Entries, e.mostEntries(), e.size.Bytes, e.mostBytes()}}
	if now != 0 {
		v.Now = value.FormatTime(now)
	}
	if v.Known {
		v.Last = value.FormatTime(e.last)
		v.Forget = value.FormatTime(value.Plus(e.last, int64(live.def.Items[k].ForgetAfter())))
	}
	for i, ft := range live.features {
		if ft.per == k+1 {
			v.Features[ft.def.Name] = ft.shownOf(e.feature(i), now)
		}
	}
	for _, r := range e.renamed {
		v.Renamed = append(v.Renamed, r.visitor)
	}
	v.sending(e, now)
	return v, nil
}

// noKind is the error for a kind that the set does not name.
func (l *liveSet) noKind(kind string) error {
	var kinds []string
	for _, it := range l.def.Items {
		kinds = append(kinds, it.Kind)
	}
	switch near := campaign.Nearest(kind, kinds); {
	case len(kinds) == 0:
		return fmt.Errorf("the set in force has no items: declare them under `items`")
	case near != "":
		return fmt.Errorf("the set in force has no items of kind %q: did you mean %q?", kind, near)
	}
	return fmt.Errorf("the set in force has no items of kind %q: it has %s", kind, strings.Join(kinds, ", "))
}

// shownOf is a feature of an item as JSON. The state may be nil.
func (f *feature) shownOf(st *window.State, now int64) json.RawMessage {
	if !f.shape.Entities {
		return shown(f.read(st, now))
	}
	list := ItemUsers{Size: f.shape.UserCount(st, now), Keep: f.shape.Entries, First: []string{}}
	f.shape.Users(st, now, 0, func(_ int, key string) bool {
		list.First = append(list.First, strings.Clone(key))
		return len(list.First) < FirstUsers
	})
	b, err := json.Marshal(list)
	if err != nil { // cannot happen: keys are texts
		return value.AppendJSONString(nil, err.Error())
	}
	return b
}

// sending fills in what the item is sending to users.
func (v *Item) sending(e *Entity, now int64) {
	if e.fan == nil {
		return
	}
	for k := e.fan.part; k < len(e.fan.parts); k++ {
		p := &e.fan.parts[k]
		body := value.Reader{B: p.body, Alias: true}
		s := ItemSending{Campaign: strings.Clone(body.Text())}
		if i, known := e.live.byID[p.list]; known {
			f := e.live.all[i]
			s.List, s.Of = f.def.Name, f.shape.UserCount(e.feature(i), now)
		}
		if k == e.fan.part {
			s.Told = min(e.fan.next, s.Of)
		}
		v.Sending = append(v.Sending, s)
	}
}

// A UserList is a list of an item that holds the user.
type UserList struct {
	Item string `json:"item"` // the entity's key
	List string `json:"list"` // the feature
}

// heldBy are the lists of the set in force that hold the user, by item and name.
func (e *Entity) heldBy() (all []UserList) {
	for _, w := range e.watching {
		if i, known := e.live.byID[w.list]; known {
			all = append(all, UserList{w.item, e.live.all[i].def.Name})
		}
	}
	slices.SortFunc(all, func(a, b UserList) int {
		return cmp.Or(cmp.Compare(a.Item, b.Item), cmp.Compare(a.List, b.List))
	})
	return all
}

// Item is Fold.Item.
func (b *Backtest) Item(key string) (*Item, error) { return b.fold.Item(key) }

// Empty is what expressions read of a feature with `by` under a key that has no entry,
// as JSON. The set must have the feature.
func (b *Backtest) Empty(feature string) json.RawMessage {
	live := b.fold.step.live
	return shown(live.features[live.featureIndex[feature]].shape.Read(nil, "", b.fold.cur.LogTime))
}
