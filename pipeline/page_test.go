package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// told are the page records that the fold has made since the last call.
func (p *posted) told(want ...string) {
	p.t.Helper()
	var got []string
	for _, e := range p.pages {
		if e.Chain != "page" {
			p.t.Errorf("a page record is on the chain %s", e.Chain)
		}
		got = append(got, fmt.Sprint(e.Pos.N, " ", string(e.Page.JSON())))
	}
	if p.pages = nil; !slices.Equal(got, want) {
		p.t.Errorf("page records:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestMergePage: a visitor who gives its record makes a page record, in that step; a
// claim that is refused makes none, nor does a record on its way. The records have
// numbers of their own, which the cursor keeps, and ids that depend on the log alone.
func TestMergePage(t *testing.T) {
	s := scene{[]string{countViews}, []string{sends("a", "n", `"on":["View"]`)}}
	ids := func() (ids []string) {
		p := newPosted(t, s)
		p.event("~v", "View", "")
		p.identify("u", "v")
		p.identify("w", "v")
		p.told()
		p.deliver(1)
		ids = append(ids, p.pages[0].Page.ID)
		p.told(`1 {"type":"merged","visitor":"v","user":"u","time":"1970-01-01T00:00:04Z"}`)
		p.deliver(0)
		p.told()
		p.again()
		p.identify("w", "x") // who has no events
		p.deliver(0)
		ids = append(ids, p.pages[0].Page.ID)
		p.told(`2 {"type":"merged","visitor":"x","user":"w","time":"1970-01-01T00:00:09Z"}`)
		return ids
	}
	if a, b := ids(), ids(); !slices.Equal(a, b) || a[0] == a[1] || len(a[0]) != 32 {
		t.Errorf("ids %v, then %v", a, b)
	}
}

// again makes the fold anew from its stored form.
func (p *posted) again() {
	p.t.Helper()
	c, err := ReadCursor(mustJSON(p.t, p.f.Cursor()))
	if err != nil {
		p.t.Fatal(err)
	}
	set, ents := p.f.step.live.Set, decoded(p.t, p.ents)
	if p.f, err = NewFold(c, func(string) (*Set, error) { return set, nil }, ents); err != nil {
		p.t.Fatal(err)
	}
	p.ents = ents
	p.f.Partition(0, 1)
	for key, e := range ents {
		if due := e.Due(); due != NoDue {
			p.f.Schedule(due, key)
		}
	}
}

// TestPageMark: an acceptance continues the chain of page records behind a mark.
func TestPageMark(t *testing.T) {
	p := newPosted(t, scene{nil, []string{sends("a", "1", `"on":["View"]`)}})
	p.identify("u", "v")
	p.deliver(0)
	p.told(`1 {"type":"merged","visitor":"v","user":"u","time":"1970-01-01T00:00:02Z"}`)
	p.message(Accept, []byte(`{"chains":{"page":1},"after":7,"why":"a disk"}`))
	p.identify("u", "x")
	p.deliver(0)
	var n []uint64
	for _, e := range p.pages {
		n = append(n, e.Pos.N)
	}
	if !slices.Equal(n, []uint64{9}) { // 8 is the mark
		t.Errorf("after the mark come the records %v", n)
	}
}
