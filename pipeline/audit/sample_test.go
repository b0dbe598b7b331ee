package audit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestSample: the newest events come, of all partitions together, the oldest of
// them first, however they are spread over partitions and messages.
func TestSample(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 3)
	sampled := func(n int) string {
		t.Helper()
		var got []string
		err := Sample(within(t), c, n, func(raw []byte) error { got = append(got, string(raw)); return nil })
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(got, " ")
	}
	if got := sampled(5); got != "" {
		t.Errorf("an empty log gives %s", got)
	}
	var all []string
	for i, partition := range []int{0, 0, 2, 0, 0, 0, 2, 0, 0} { // nothing in partition 1
		pack := []string{fmt.Sprintf(`{"a":%d}`, i), fmt.Sprintf(`{"b":%d}`, i)}[:1+i%2]
		all = append(all, pack...)
		publish(t, c, []scripted{{partition, []byte("\n" + strings.Join(pack, "\n \n") + "\n")}})
		if err := c.Tick(partition, 0); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the ticks are stored", func() bool {
		_, last, err := c.Extent(within(t), 0)
		return err == nil && last == 14
	})
	for n := range 16 {
		want := all[max(0, len(all)-n):]
		if got := sampled(n); got != strings.Join(want, " ") {
			t.Errorf("the newest %d: %s, want %s", n, got, want)
		}
	}
	stop := errors.New("stop")
	if err := Sample(within(t), c, 3, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("fn's error: %v", err)
	}
}

// TestSampleBounded: the events in memory have a limit.
func TestSampleBounded(t *testing.T) {
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 1)
	for i := range 4 {
		publish(t, c, []scripted{{0, bytes.Repeat([]byte{'0' + byte(i)}, 100)}})
	}
	s := sample{left: 350}
	e := &logEnd{first: 1, from: 5, span: 2}
	s.ends = append(s.ends, e)
	for i, want := range []uint64{3, 2} {
		if err := s.extend(within(t), c, e); err != nil || e.from != want {
			t.Errorf("extended %d times it begins at message %d, want %d; %v", i+1, e.from, want, err)
		}
	}
	if s.left != 50 || s.shortest() != nil {
		t.Errorf("%d bytes are left, to be extended is %+v", s.left, s.shortest())
	}
	var got []byte
	if err := s.newest(9, func(raw []byte) error { got = append(got, raw[0]); return nil }); err != nil || string(got) != "123" {
		t.Errorf("%s, %v", got, err)
	}
}
