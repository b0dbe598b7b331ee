package audit

import (
	"errors"
	"fmt"
	"testing"

	"offerstream/pipeline"
)

// TestPausedUnderAnotherSet: where another set is in force all the time, the control
// messages of the log still pause campaigns, and put no set in force.
func TestPausedUnderAnotherSet(t *testing.T) {
	set := compiled(t, setOf(t, shopSet))
	f, err := pipeline.NewFold(pipeline.Cursor{Set: set.Hash()}, func(hash string) (*pipeline.Set, error) {
		if hash != set.Hash() {
			return nil, errors.New("another set is asked for")
		}
		return set, nil
	}, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	r := newReading(&replay{set: set, fold: f})
	r.tables = true
	const at = `"at":"2026-03-01T16:00:00Z"`
	seq := uint64(0)
	send := func(kind pipeline.Kind, format string, args ...any) {
		t.Helper()
		seq++
		if err := r.message(t.Context(), pipeline.Message{Seq: seq, Stored: 1772380800e9 + int64(seq)*1e9, Kind: kind, Data: fmt.Appendf(nil, format, args...)}, func(uint64) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	counts := func() (n [3]uint64) {
		all, _ := f.Counts()
		for _, c := range all {
			n[0], n[1], n[2] = n[0]+c.Evaluated, n[1]+c.Ended[pipeline.Paused], n[2]+c.Ended[pipeline.Fired]
		}
		return n
	}
	order := func(user string) {
		send(pipeline.In, `{"type":"track","event":"Order Completed","userId":%q,"messageId":"m%d","properties":{"category":"bag"}}`, user, seq)
	}
	var names string
	for i, c := range set.Definition().Campaigns {
		names += fmt.Sprintf("%s%q", map[bool]string{true: ","}[i > 0], c.ID)
	}
	send(pipeline.Control, `{"set":"0000","engine":%d,%s}`, pipeline.Engine, at)
	send(pipeline.Control, `{"paused":[%s],"engine":%d,%s}`, names, pipeline.Engine, at)
	order("ada")
	if n := counts(); n[0] == 0 || n[1] != n[0] {
		t.Errorf("paused: %v", n)
	}
	before := counts()
	send(pipeline.Control, `{"paused":[],"engine":%d,%s}`, pipeline.Engine, at)
	order("bob")
	if n := counts(); n[1] != before[1] || n[2] == 0 {
		t.Errorf("no longer paused: %v, before %v", n, before)
	}
	if _, _, _, hash := f.At(); hash != set.Hash() {
		t.Errorf("another set is in force: %s", hash)
	}
}
