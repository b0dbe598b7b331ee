package audit

import (
	"fmt"
	"testing"
)

// TestAcceptExpired: a log of which every message has expired, and of which there is no
// snapshot, is accepted as lost: nothing is waited for.
func TestAcceptExpired(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 1))
	w := start(t, ns.ClientURL(), t.TempDir())
	w.inForce(t, hash)
	publish(t, c, []scripted{{0, view(1, "ada")}, {0, view(2, "ada")}})
	w.applied(t, c)
	w.stop(t)
	_, last, err := c.Extent(within(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	st, err := c.JS.Stream(within(t), c.Names.EventsStream(0))
	if err == nil {
		err = st.Purge(within(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	done, err := Accept(within(t), c, accepting(t, ns.ClientURL()))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("[1-%d]", last); fmt.Sprint(done.Skipped) != want || done.Seq != last+1 {
		t.Errorf("%+v, want messages %s skipped", done, want)
	}
}
