package change

import (
	"bytes"
	"slices"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/expr"
)

// campaigns compares the campaigns.
func (b *between) campaigns() {
	id := func(c *campaign.Campaign) string { return c.ID }
	was, is := byName(b.was.Campaigns, id), byName(b.is.Campaigns, id)
	for _, id := range names(was, is) {
		x, begins := b.campaign(id, was[id], is[id])
		since := b.fed["campaign "+id]
		switch {
		case is[id] == nil:
		case b.new.ReadsItems(unitOf(is[id])):
			if begins {
				b.change.AtSwitch.Campaigns = append(b.change.AtSwitch.Campaigns, id)
			}
		case begins || since > b.reach:
			b.change.Backfill.Campaigns = append(b.change.Backfill.Campaigns, id)
		}
		if x.What != Same {
			b.change.Campaigns = append(b.change.Campaigns, x)
		}
	}
}

// campaign compares a campaign; was or is may be nil. begins: it, or a row of it,
// has no evaluations of before the change.
func (b *between) campaign(id string, was, is *campaign.Campaign) (x Campaign, begins bool) {
	x = Campaign{ID: id, What: Same}
	rows := b.rows(&x, was, is)
	x.Rows = rows.counted(was, is)
	begins = rows.begin > 0
	if x.Waits = was != nil && b.old.MayWait(unitOf(was)); is == nil {
		x.What, x.Cancels = Gone, true
		return x, begins
	}
	if was == nil {
		x.What = Added
		return x, begins
	}
	x.Values = differ(structure(was), structure(is))
	if len(x.Values) > 0 || x.Rows != nil && *x.Rows != (Rows{}) {
		x.What = Changed
	}
	if x.Cancels = len(rows.cancelled) > 0 || rows.stay == 0; x.Cancels && rows.stay > 0 {
		x.CancelledRows = rows.cancelled
	}
	if x.Waits && rows.stay > 0 {
		b.lost(&x, rows.stays, is)
	}
	return x, begins
}

// unitOf is the first unit of a campaign: all of them share what is compiled.
func unitOf(c *campaign.Campaign) string {
	if len(c.Rows) == 0 {
		return c.ID
	}
	return c.ID + "/" + c.Rows[0].ID
}

// rows are what becomes of the units of a campaign.
type rows struct {
	Rows
	begin     int      // units that begin with the new set
	stay      int      // units whose pending evaluations stay
	stays     string   // one of these
	cancelled []string // rows of the old set whose pending evaluations are cancelled, sorted
}

// rows compares the units of a campaign.
func (b *between) rows(x *Campaign, was, is *campaign.Campaign) (r rows) {
	row := func(r *campaign.Row) string { return r.ID }
	units := func(c *campaign.Campaign) map[string]*campaign.Row {
		switch {
		case c == nil:
			return nil
		case len(c.Rows) == 0:
			return map[string]*campaign.Row{"": nil}
		}
		return byName(c.Rows, row)
	}
	before, after := units(was), units(is)
	unit := func(row string) string {
		if row == "" {
			return x.ID
		}
		return x.ID + "/" + row
	}
	for id, now := range after {
		then, had := before[id]
		switch {
		case !had:
			r.Added++
		case now != nil && then != nil && !bytes.Equal(now.Values, then.Values):
			r.Changed++
		}
		if had && b.stays(unit(id)) {
			if r.stay++; r.stays == "" || unit(id) < r.stays {
				r.stays = unit(id)
			}
		} else {
			r.begin++
		}
	}
	for id := range before {
		if _, has := after[id]; !has {
			r.Gone++
		}
		if !b.stays(unit(id)) {
			r.cancelled = append(r.cancelled, id)
		}
	}
	slices.Sort(r.cancelled)
	return r
}

// counted are the counts of a campaign that has rows in either set.
func (r *rows) counted(was, is *campaign.Campaign) *Rows {
	if (was == nil || len(was.Rows) == 0) && (is == nil || len(is.Rows) == 0) {
		return nil
	}
	c := r.Rows
	if was != nil && len(was.Rows) == 0 {
		c.Gone--
	}
	if is != nil && len(is.Rows) == 0 {
		c.Added--
	}
	return &c
}

// stays reports whether what is pending of a unit stays, which both sets have.
func (b *between) stays(unit string) bool {
	if b.old == nil {
		return false
	}
	was, had := b.old.Trigger(unit)
	is, has := b.new.Trigger(unit)
	return had && has && was == is
}

// lost finds what pending evaluations of a unit lack, and where that is read.
func (b *between) lost(x *Campaign, unit string, is *campaign.Campaign) {
	lacking := b.new.Lacking(b.old, unit)
	if len(lacking) == 0 {
		return
	}
	reads := expr.NewReader()
	for _, l := range is.Let {
		reads.Let(l.Name, l.Is)
	}
	for _, name := range lacking {
		path := reads.Path(name)
		l := Lost{Field: name}
		eachExpression(is, func(place string, uses func(*expr.Reader) []expr.Use) {
			if slices.ContainsFunc(uses(reads), func(u expr.Use) bool { return overlap(u.Path, path) }) {
				l.Places = append(l.Places, place)
			}
		})
		x.Lost = append(x.Lost, l)
	}
}

// overlap reports whether one path leads to what is at the other, or within it.
func overlap(a, b []string) bool {
	n := min(len(a), len(b))
	return n > 0 && slices.Equal(a[:n], b[:n])
}
