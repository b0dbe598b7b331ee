package worker

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

var mutate = flag.Bool("mutations", false, "let TestMutations run, which takes some minutes")

// A mutation leaves one rule out of the code.
type mutation struct {
	rule, file, from, to string
}

// mutations are the rules of the protocol (PROTOCOL.md) and of what stands
// around it, each with the line that holds it. What costs nothing but work when
// it is missing is not among them: that a control message is appended once, or
// that leases keep two from owning the same. Nor is that a cursor says how much
// of a message is applied: users tell their duplicates (TestKillWithinMessage
// looks at it).
var mutations = []mutation{
	{"P1: what is not acknowledged is not known stored", "broker/publish.go",
		"		err := ch.publish(ctx, e)\n", "		err := ch.publish(ctx, e)\n		if err != nil && ctx.Err() == nil {\n			ch.saw(tail{e.Pos, ch.tail.seq + 1})\n			return nil\n		}\n"},
	{"P1: after a failure the tail is read", "broker/publish.go",
		"		if err := ch.again(ctx, attempt, err); err != nil {\n			return err\n		}\n		attempt++", "		attempt++"},
	{"P2: a publish expects the last message on its subject", "worker/simulation_broker_test.go",
		"seq, err = p.w.b.store(p.subject, own, data, &expect)", "seq, err = p.w.b.store(p.subject, own, data, nil)"},
	{"P4: a checkpoint waits for its offers", "worker/committer.go",
		"if err := c.chains.Await(ctx, cursor); err != nil {", "if err := ctx.Err(); err != nil {"},
	{"P5: a tail is not before what is known stored", "broker/tail.go", "if t.N < known {", "if false && t.N < known {"},
	{"P5: a tail is what the state has seen", "broker/chain.go", "case t.N < have.N:", "case false:"},
	{"P5: the log does not end before what was applied", "worker/reading.go", "case end < seen:", "case false:"},
	{"P5: the message at the cursor is the one that was applied", "worker/reading.go", "if m.Seq == before.seq && m.Stored != before.stored {", "if false {"},
	{"P5: the message that was applied in part is the same", "worker/attempt.go", "if a.from.Partly != 0 {", "if false {"},
	{"P5: a fold that passes a tail has come to it", "broker/tail.go", "if t.N > n && t.S <= seq {", "if false {"},
	{"P6: a follower publishes nothing and waits for the owner", "broker/publish.go", "if ch.all.muted.Load() {\n", "if ch.all.muted.Load() {\n			ch.saw(tail{e.Pos, ch.tail.seq})\n			return nil\n"},
	{"P8: a gap is no next message", "broker/reader.go", "if m.Seq != r.next {", "if r.next = m.Seq; false {"},
	{"D4: the cursor and what has changed are of one moment", "checkpoint/writer.go", "j, err := w.cursor.JSON()", "cursor := w.cursor\n	if cursor.Seq > 1 {\n		cursor.Seq--\n	}\n	j, err := json.Marshal(cursor)"},
	{"a user whose change is not stored stays in the cache", "checkpoint/cache.go", "if e.gen <= c.committed {", "if true {"},
	{"a checkpoint has all that has changed", "checkpoint/cache.go", "for i, e := range c.dirty {\n", "for i, e := range c.dirty {\n		if i == 3 {\n			continue\n		}\n"},
	{"timers are read from the store", "worker/attempt.go", "a.fold.Schedule(due, key); return nil", "return nil"},
	{"a silent reader is opened again", "worker/attempt.go", "if a.reader.Silent() {", "if false {"},
	{"an owner lets go where another should own", "worker/assignment.go", "if owns && at(id) < mine && (own || at(id) == 0 && isReady) {", "if false {"},
	{"a follower takes over where nobody owns", "worker/assignment.go", "case ready && !before, rank == 0 && !anyReady:", "case false:"},
	{"a lease is renewed", "worker/group.go", "!c.Equal(g.said) || now.Sub(g.renewed) >= renewEvery", "!c.Equal(g.said)"},
	{"where the log has expired a snapshot is restored", "worker/snapshot.go", "case m.Seq+1 < first:", "case true:"},
	{"a worker gives up before its disk is full", "worker/room.go", "case free < need:", "case false:"},
	{"a snapshot is restored where there is room", "worker/room.go", "err == nil && free < need {", "false {"},
	{"a snapshot that was replaced meanwhile is no reason to stop", "worker/snapshot.go", "	return gone // there is a newer one", "	p.hopeless = true\n	return nil"},
	{"a log that expires meanwhile is no reason to stop", "worker/reading.go", "if end >= seen && (a.reader != nil || !a.p.hopeless) {", "if false {"},
	{"P9: snapshots from before an acceptance count no more", "worker/snapshot.go", "case accepted != 0 && !checkpoint.HasFolded(m, accepted):", "case false:"},
	{"P9: the state from before an acceptance is discarded", "worker/snapshot.go", "if cursor.Accepted != accepted && cursor.Seq > 0 {", "if false {"},
	{"P9: the numbers go on behind what was stored", "accept.go", "ch.Last.N = max(ch.Last.N, f.accept.Chains[name])", "ch.Last.N = max(ch.Last.N, 0)"},
	{"P9: a gap is looked at again before it counts as a loss", "audit/replay.go", "if m.Seq > from && (m.Seq != gap || looks < gapLooks) {", "if false {"},
	{"P9: a snapshot that cannot be had now is no misfit", "audit/replay.go", "if !errors.Is(err, state.ErrDamaged) && !errors.Is(err, broker.ErrSnapshotDamaged) && !errors.Is(err, state.ErrForeign) && !errors.Is(err, checkpoint.ErrOtherLog) {", "if false {"},
	{"P9: a snapshot of another log is not accepted", "audit/replay.go", "if m.Seq != known.seq || m.Stored != known.stored {", "if false {"},
	{"P9: snapshots stay until the acceptance has left its own", "audit/accept.go", "return seq > end }); err != nil { // of another log", "return true }); err != nil { // of another log"},
	{"P9: an acceptance leaves a snapshot", "audit/accept.go", "return a.leave(ctx, end)", "return nil"},
}

// sources is the directory of this package's sources.
func sources(t *testing.T) string {
	t.Helper()
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no source")
	}
	return filepath.Dir(here)
}

// apply is the file that the mutation changes, and what it makes of it.
func (m mutation) apply(t *testing.T) (file string, mutant []byte) {
	t.Helper()
	file = filepath.Join(filepath.Dir(sources(t)), m.file)
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(src, []byte(m.from)); n != 1 {
		t.Fatalf("%s has the line %d times: %s", m.file, n, m.from)
	}
	return file, bytes.Replace(src, []byte(m.from), []byte(m.to), 1)
}

// TestMutationLines sees that each mutation's line is still where the mutation
// looks for it, so that a line that has moved is noticed at once.
func TestMutationLines(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.rule, func(t *testing.T) { m.apply(t) })
	}
}

// TestMutations builds the simulation once for each mutation and lets it find
// that a rule is missing, within 1,000 seeds.
func TestMutations(t *testing.T) {
	if !*mutate {
		t.Skip("takes some minutes: go test ./pipeline/worker -run TestMutations -v -timeout 30m -args -mutations")
	}
	here := sources(t)
	for i, m := range mutations {
		t.Run(m.rule, func(t *testing.T) {
			file, mutant := m.apply(t)
			dir := t.TempDir()
			patched := filepath.Join(dir, filepath.Base(m.file))
			if err := os.WriteFile(patched, mutant, 0o600); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: patched}})
			if err != nil {
				t.Fatal(err)
			}
			list := filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(list, overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "test", "-overlay", list, "-run", "^TestSimulation$", "-count=1", "-timeout", "5m", ".", "-args", "-seeds=1000")
			cmd.Dir = here
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("mutation %d is not noticed within 1,000 seeds", i)
			}
			found := regexp.MustCompile(`-seed=(\d+)\n\s*(.*)`).FindSubmatch(out)
			if found == nil {
				t.Fatalf("it ended otherwise:\n%s", out)
			}
			t.Logf("noticed by seed %s: %s", found[1], strings.TrimSpace(string(found[2])))
		})
	}
}
