package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
	"offerstream/state"
)

// refuses runs a worker that can never work, and returns why.
func refuses(t *testing.T, dir string, o broker.Options) error {
	t.Helper()
	o.Client, o.Log = "worker", quiet()
	w, err := New(Options{Dir: dir, Log: quiet(), Connect: func(ctx context.Context) (*broker.Conn, error) { return broker.Connect(ctx, o) }})
	if err != nil {
		t.Fatal(err)
	}
	if err = w.Run(within(t)); err == nil {
		t.Fatal("it runs until it is told to end")
	}
	return err
}

// TestForeign: a directory of another deployment is refused and not changed.
func TestForeign(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 1))
	dir := t.TempDir()
	w := start(t, ns.ClientURL(), dir, nil)
	w.inForce(t, hash)
	publish(t, c, []scripted{{0, view(0, "ada")}})
	w.applied(t, c)
	w.stop(t)
	other := startNATS(t, t.TempDir(), -1)
	for _, o := range []broker.Options{
		{URL: other.ClientURL(), Partitions: 2},
		{URL: ns.ClientURL(), Partitions: 1, Prefix: "x"},
	} {
		err := refuses(t, dir, o)
		if !strings.Contains(err.Error(), "another deployment") || !strings.Contains(err.Error(), "point this worker elsewhere, or remove the directory") {
			t.Errorf("got %v", err)
		}
	}
	w = start(t, ns.ClientURL(), dir, nil)
	publish(t, c, []scripted{{0, view(1, "ada")}})
	w.applied(t, c)
	if st := w.Status()[0]; st.Applied != 2 {
		t.Errorf("its own deployment finds %+v in it", st)
	}
	verified(t, c)
}

// TestTwoGroups: workers under the same prefix with another number of partitions
// are refused and do not disturb the others. Workers with the right number join
// the same group, even if their operators apply other campaigns.
func TestTwoGroups(t *testing.T) {
	t.Parallel()
	const partitions = 8
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), partitions)
	one, two := views(t, 1), views(t, 1)
	two.Campaigns[0].ID = "others"
	hash := apply(t, c, one)
	first := start(t, ns.ClientURL(), t.TempDir(), nil)
	first.inForce(t, hash)
	n := 0
	more := func() {
		for range 40 {
			user := fmt.Sprint("user", n)
			publish(t, c, []scripted{{event.Partition("u:"+user, partitions), view(0, user)}})
			n++
		}
	}
	more()
	err := refuses(t, t.TempDir(), broker.Options{URL: ns.ClientURL(), Partitions: 4})
	var no *broker.Refusal
	if !errors.As(err, &no) || !strings.Contains(err.Error(), "it has 8 partitions, not 4: leave the number out to take the deployment's; to change it, replay into a deployment with another prefix") {
		t.Errorf("got %v", err)
	}
	more()
	first.applied(t, c)
	if first.members() != 1 || len(first.all()) != partitions || first.Ready() != nil {
		t.Errorf("the first has %d members and %d partitions; %v", first.members(), len(first.all()), first.Ready())
	}

	second := start(t, ns.ClientURL(), t.TempDir(), nil)
	owner := owned(t, []*running{first, second}, partitions, 0)
	inForce := func(hash string) {
		await(t, "the set in force with whoever owns a partition", func() bool {
			for p, w := range owner {
				if w.Status()[p].Set != hash {
					return false
				}
			}
			return true
		})
	}
	inForce(hash)
	more()
	of2 := connect(t, ns.ClientURL(), partitions) // the operators of the second group
	inForce(apply(t, of2, two))
	atTwo := n
	more()
	await(t, "all applied", func() bool {
		for p, w := range owner {
			_, last, err := c.Extent(within(t), p)
			if st := w.Status()[p]; err != nil || st.Seq < last || st.Waiting > 0 {
				return false
			}
		}
		return true
	})
	got := map[bool]int{}
	for o := range stored(t, c) {
		got[strings.Contains(o, `"campaign":"others"`)]++
	}
	if got[false] != atTwo || got[true] != n-atTwo {
		t.Errorf("%d offers under the first set, want %d; %d under the second, want %d", got[false], atTwo, got[true], n-atTwo)
	}
	for p := range partitions {
		controls := 0
		if err := c.ScanLog(within(t), p, 0, func(m pipeline.Message) error {
			if m.Kind == pipeline.Control {
				controls++
			}
			return nil
		}); err != nil || controls != 2 {
			t.Errorf("partition %d: %d sets went through the log, want 2; %v", p, controls, err)
		}
	}
	verified(t, c)
}

// openState opens the state of a partition whose worker has ended. Its lock lives as
// long as any process has its file open, and a child that another test starts has it for
// a moment, until it runs its own program: so this waits for such a moment's end.
func openState(dir string, o state.Options) (*state.Store, error) {
	syscall.ForkLock.RLock()
	//lint:ignore SA2001 it is enough to have waited
	syscall.ForkLock.RUnlock()
	return state.Open(dir, o)
}
