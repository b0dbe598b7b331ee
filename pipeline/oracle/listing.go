package oracle

import "slices"

// mostListings is how many items of one user are remembered.
const mostListings = 1000

// A listing says that an item has a user among its users.
type listing struct {
	kind    *itemKind
	key     string
	feature *feature
	at      int64 // event time
}

// renameAtItems tells each item whose users hold the visitor that it is the user now.
func (u *user) renameAtItems(a *user) {
	var feeds []*feed
	for _, l := range a.listings {
		fd := find(feeds, l.kind, l.key)
		if fd == nil {
			fd = &feed{kind: l.kind, key: l.key, now: u.w.now, from: a.key, to: u.key}
			feeds = append(feeds, fd)
		}
		fd.renames = append(fd.renames, l)
		u.list(l)
	}
	for _, fd := range feeds {
		u.w.send(func() {
			u.w.steps++
			u.out.meet("merge renames at an item")
			u.w.item(fd.kind, fd.key).take(fd)
		})
	}
}

// list notes that an item has the user among its users.
func (u *user) list(l listing) {
	u.unlist(l)
	u.listings = append(u.listings, l)
	if len(u.listings) > mostListings {
		u.listings = u.listings[1:]
	}
}

func (u *user) unlist(l listing) {
	u.listings = slices.DeleteFunc(u.listings, func(o listing) bool { return o.kind == l.kind && o.key == l.key && o.feature == l.feature })
}

// listFeeds notes what feeds say of the user.
func (u *user) listFeeds(feeds []*feed) {
	for _, fd := range feeds {
		for _, f := range u.set.Features {
			l := listing{fd.kind, fd.key, f, fd.event.time}
			if f.Agg == "users" && len(fd.removed[f]) > 0 {
				u.unlist(l)
			}
			if f.Agg == "users" && len(fd.entries[f]) > 0 {
				u.list(l)
			}
		}
	}
}
