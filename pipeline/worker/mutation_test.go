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

var mutate = flag.Bool("mutations", false, "run TestMutations, which takes some minutes")

// A mutation removes one rule from the code.
type mutation struct {
	rule, file, from, to string
	core                 bool // the tests of package pipeline notice it, by a model that is simpler than the simulation
}

// mutations are the rules of the protocol (PROTOCOL.md), and others on which it
// relies, each with the line of code that implements it. Rules without which only
// work is done twice are not among them: that a control message is appended once,
// and that leases keep two workers from owning the same partition. Nor is the rule
// that a cursor says how much of a message is applied: without it users recognise
// their duplicates (TestKillWithinMessage tests it).
var mutations = []mutation{
	{"P1: a record without an acknowledgement is not known stored", "broker/publish.go",
		"		err := ch.publish(ctx, e)\n", "		err := ch.publish(ctx, e)\n		if err != nil && ctx.Err() == nil {\n			ch.saw(tail{e.Pos, ch.tail.seq + 1})\n			return nil\n		}\n", false},
	{"P1: after a failure the tail is read", "broker/publish.go",
		"		if err := ch.again(ctx, attempt, err); err != nil {\n			return err\n		}\n		attempt++", "		attempt++", false},
	{"P2: a publish expects the last message on its subject", "worker/simulation_broker_test.go",
		"seq, err = p.w.b.store(p.subject, own, data, &expect)", "seq, err = p.w.b.store(p.subject, own, data, nil)", false},
	{"P4: a checkpoint waits for its offers", "worker/committer.go",
		"if err := c.chains.Await(ctx, cursor); err != nil {", "if err := ctx.Err(); err != nil {", false},
	{"P5: a tail does not precede a record that is known stored", "broker/tail.go", "if t.N < known {", "if false && t.N < known {", false},
	{"P5: a tail does not precede the state's last record", "broker/chain.go", "case t.N < have.N:", "case false:", false},
	{"P5: the log does not end before the last message applied", "worker/reading.go", "case end < seen:", "case false:", false},
	{"P5: the message at the cursor is the one that was applied", "worker/reading.go", "if m.Seq == before.seq && m.Stored != before.stored {", "if false {", false},
	{"P5: the message that was applied in part is the same", "worker/attempt.go", "if a.from.Partly != 0 {", "if false {", false},
	{"P5: a fold does not pass a tail without giving its record", "broker/tail.go", "if t.N > n && t.S <= seq {", "if false {", false},
	{"P6: a follower publishes nothing and waits for the owner", "broker/publish.go", "if ch.all.muted.Load() {\n", "if ch.all.muted.Load() {\n			ch.saw(tail{e.Pos, ch.tail.seq})\n			return nil\n", false},
	{"P8: a gap in the log is an error", "broker/reader.go", "if m.Seq != r.next {", "if r.next = m.Seq; false {", false},
	{"D3: only a newer record is carried out", "worker/control.go", "return live.Revision > revision && live.Set", "return live.Revision != revision && live.Set", false},
	{"D3: only newer pauses are carried out", "worker/control.go", "if pauses.Revision <= h.pauses {", "if false {", false},
	{"D4: cursor and changes are of the same moment", "checkpoint/writer.go", "j, err := StoredCursor(w.cursor)", "cursor := w.cursor\n	if cursor.Seq > 1 {\n		cursor.Seq--\n	}\n	j, err := StoredCursor(cursor)", false},
	{"a user whose change is not stored stays in the cache", "checkpoint/cache.go", "if e.gen <= c.committed {", "if true {", false},
	{"a checkpoint has all changes", "checkpoint/cache.go", "for i, e := range c.dirty {\n", "for i, e := range c.dirty {\n		if i == 3 {\n			continue\n		}\n", false},
	{"timers are read from the store", "worker/attempt.go", "a.fold.Schedule(due, key); return nil", "return nil", false},
	{"a user's consent is stored", "record.go", "w.Byte(truth(e.consent[i].granted))", "w.Byte(0)", false},
	{"a user's sequences are stored", "record.go", "w.Times(q.starts)", "w.Times(make([]int64, len(q.starts)))", false},
	{"the end of a user's session is stored", "session.go", "w.Byte(truth(s.ends))", "w.Byte(0)", false},
	{"which trigger came is stored", "record.go", "w.Byte(e.entry)", "w.Byte(0)", false},
	{"a fact is stored", "record.go", "w.Bytes(e.fact.raw)", "w.Bytes(nil)", false},
	{"a reader counts the bytes of its pulls", "broker/pulls.go", "func (p *Pulls) Came(size int) { p.less(1, size) }", "func (p *Pulls) Came(size int) { p.less(1, 0*size) }", false},
	{"a silent reader is opened again", "worker/attempt.go", "if a.reader.Silent() {", "if false {", false},
	{"an owner lets go when another should own", "worker/assignment.go", "if owns && at(id) < mine && (own || at(id) == 0 && isReady) {", "if false {", false},
	{"a follower takes over when nobody owns", "worker/assignment.go", "case ready && !before, rank == 0 && !anyReady:", "case false:", false},
	{"a lease is renewed", "worker/group.go", "!c.Equal(g.said) || now.Sub(g.renewed) >= renewEvery", "!c.Equal(g.said)", false},
	{"a snapshot is restored when the log has expired", "worker/snapshot.go", "case m.Seq+1 < first:", "case true:", false},
	{"a worker gives up before its disk is full", "worker/room.go", "case free < need:", "case false:", false},
	{"a snapshot is restored only if there is room", "worker/room.go", "if need := w.room(partitions); err == nil && free < need {", "if false {\n		need := int64(0)", false},
	{"a partition does not stop because a snapshot was replaced meanwhile", "worker/snapshot.go", "	return gone // the next attempt finds the newer snapshot", "	p.hopeless = true\n	return nil", false},
	{"a partition does not stop because the log expires meanwhile", "worker/reading.go", "if end >= seen && (a.reader != nil || !a.p.hopeless) {", "if false {", false},
	{"P9: snapshots from before an acceptance are not used", "worker/snapshot.go", "case accepted != 0 && !checkpoint.HasFolded(m, accepted):", "case false:", false},
	{"P9: the state from before an acceptance is discarded", "worker/snapshot.go", "if cursor.Accepted != accepted && cursor.Seq > 0 {", "if false {", false},
	{"P9: numbers go on beyond all that were given out", "accept.go", "f.cur.After = max(f.cur.After, f.accept.After)", "f.cur.After = 0", false},
	{"P9: a chain that begins after an acceptance may have existed before it", "fold.go", "N: max(ch.Last.N, f.cur.After, stored) + 1", "N: max(ch.Last.N, stored, map[bool]uint64{true: f.cur.After}[e.Mark != nil]) + 1", false},
	{"P9: the first record of such a chain is published", "broker/publish.go", "ch.tail.N == 0 && ch.stored == 0", "false", false},
	{"P9: an acceptance needs two clocks that agree", "audit/accept.go", "if ahead.Abs() > broker.ClockApart {", "if false {", false},
	{"P9: a gap is read again before it counts as a loss", "audit/replay.go", "if m.Seq > from && (m.Seq != gap || looks < gapLooks) {", "if false {", false},
	{"P9: a snapshot that cannot be read now is not skipped", "audit/replay.go", "if !errors.Is(err, state.ErrDamaged) && !errors.Is(err, broker.ErrSnapshotDamaged) && !errors.Is(err, state.ErrForeign) && !errors.Is(err, checkpoint.ErrOtherLog) && !errors.Is(err, errWithin) {", "if false {", false},
	{"P9: a snapshot of another log is not accepted", "audit/replay.go", "if m.Seq != known.seq || m.Stored != known.stored {", "if false {", false},
	{"P9: older snapshots stay until the acceptance has stored its own", "audit/accept.go", "return seq > end }); err != nil { // they are of another log", "return true }); err != nil { // they are of another log", false},
	{"P9: an acceptance stores a snapshot", "audit/accept.go", "return a.leave(ctx, end)", "return nil", false},
	{"D3: a revision that is not above the last one changes nothing", "control.go", "case c.Revision > 0 && c.Revision <= f.cur.Revision:", "case false:", true},
	{"D3: pauses with an old revision change nothing", "control.go", "if c.Pauses == 0 || c.Pauses > f.cur.Pauses {", "if true {", true},
	{"switch: the engine is not below that in force", "switch.go", "if c.set.def.Engine < live.def.Engine || ", "if ", true},
	{"switch: the second state is at most an hour behind", "switch.go", "value.Minus(f.target, sw.LogTime) > int64(staleAfter) || ", "", true},
	{"switch: no acceptance lies between", "switch.go", " || f.cur.Accepted != sw.Accepted {", " {", true},
	{"switch: what live has sent is not sent again", "join.go", "if live.sentSince(w.campaign, w.key, w.stored.at) {", "if false {", true},
	{"switch: what the set lacks is retired", "switch.go", "	g.retire(set)\n", "", true},
	{"switch: nothing begins for who is forgotten", "join.go", "if !live.forgotten(j.now, false) {", "if true {", true},
	{"switch: the condition of who is away is judged then", "join.go", "w.dormant() && !j.away(&w) || ", "", true},
	{"switch: what waits in both states goes on once", "join.go", "	j.goOn(live, second)\n", "", true},
	{"switch: no timer fires while users are joined", "fold.go", "if f.cur.Joined == nil && f.fire(", "if f.fire(", true},
	{"switch: listed features come from the second state", "join.go", "			live.states = append(live.states, *st)\n", "", true},
	{"switch: listed sequences come from the second state", "join.go", "			live.sequences = append(live.sequences, q)\n", "", true},
	{"switch: dwells of the other state are computed anew", "join.go", "	j.dwells(live)\n", "", true},
	{"switch: the first due time stays", "join.go", "			w.due = j.sw.Overdue.due(j.now, live.Key)\n", "			w.due = j.sw.Overdue.due(j.now, live.Key)\n			w.firstDue = w.due\n", true},
	{"second: a later trigger ends what is overdue", "evaluation.go", "return same(w) && !s.overdue(w) })", "return same(w) })", true},
	{"second: what is due waits for the switch", "fold.go", "	if !f.cur.Second {\n		heap.Push", "	if true {\n		heap.Push", true},
	{"second: sessions and dwells are judged as of when they are due", "step.go", "		s.settle(e, now)\n", "", true},
	{"second: what is overdue leaves first at the bound of bytes", "evaluation.go", "cmp.Compare(truth(!s.overdue(&a)), truth(!s.overdue(&b))), ", "", true},
	{"second: what is overdue keeps nobody from being forgotten", "second.go", "return !second || w.due > now })", "return true })", true},
	{"second: users who are away are reached", "second.go", "		e.add(pending{", "		_ = (pending{", true},
	{"rule 14: features that are gone are fed for a day", "retired.go", "next.def.Engine >= retiringEngine {", "false {", true},
	{"rule 14: and no longer", "retired.go", "	if len(f.retired) == 0 || !old(f.retired[0]) {", "	if true {", true},
	{"rule 18: retired features leave first", "retired.go", "	e.fitRetired(sc.now)\n", "", true},
	{"engine 3 retires nothing", "retired.go", " && next.def.Engine >= retiringEngine {", " {", true},
	{"switch: a reader joins the second state that it names, and not one of its own that began elsewhere", "worker/join.go", "second.Name == name && second.Seq() <= seq", "second.Set == name.Set && second.Seq() <= seq", false},
	{"switch: a second state beyond the switch is not joined", "worker/join.go", "second.Name == name && second.Seq() <= seq", "second.Name == name", false},
	{"switch: the second state comes up to the switch", "worker/join.go", "err = second.To(ctx, seq)", "err = nil", false},
	{"switch: who is interrupted goes on after the users that are joined", "backfill/join.go", "	j.Fold.JoinedTo(key)\n", "", false},
	{"D3: a go puts nothing in force without a second state", "worker/control.go", "	if live.Go() {\n", "	if false {\n", false},
	{"second: a state that lost its log is begun anew", "worker/second.go", "anew := errors.Is(err, backfill.ErrLog) || errors.Is(err, state.ErrDamaged)", "anew := errors.Is(err, state.ErrDamaged)", false},
	{"second: the log is compared even where nothing is left to fold", "backfill/reading.go", "	s.same = s.same || s.at.seq < first", "	s.same = true", false},
	{"second: a state from before an acceptance is not gone on with", "backfill/reading.go", "if m.Seq == before.seq && m.Stored != before.stored {", "if false {", false},
}

// coreTests are the tests of package pipeline that notice a mutation of it.
const coreTests = "^(TestRevisions|TestSwitch.*|TestSecond.*|TestDormant|TestLaterTrigger|TestGoesOn|TestJoinGoesOn|TestRollback|TestRetired.*|TestBackfillReadsAsReplay)$"

// sources returns the directory of this package's sources.
func sources(t *testing.T) string {
	t.Helper()
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no source")
	}
	return filepath.Dir(here)
}

// apply returns the file that the mutation changes, and its changed content.
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

// TestMutationLines checks that each file still has the line that its mutation
// changes, so that a changed line is noticed at once.
func TestMutationLines(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.rule, func(t *testing.T) { m.apply(t) })
	}
}

// TestMutations builds the simulation, or the tests of the core, once for each
// mutation. The simulation must notice within 1,000 seeds that the rule is missing.
func TestMutations(t *testing.T) {
	if !*mutate {
		t.Skip("this takes some minutes: run go test ./pipeline/worker -run TestMutations -v -timeout 30m -args -mutations")
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
			cmd := exec.Command("go", "test", "-overlay", list, "-run", "^TestSimulation$", "-count=1", "-timeout", "10m", ".", "-args", "-seeds=1000")
			if m.core {
				cmd = exec.Command("go", "test", "-overlay", list, "-run", coreTests, "-count=1", "-timeout", "5m", "..", "-args", "-seeds=150")
			}
			cmd.Dir = here
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("mutation %d is not noticed within 1,000 seeds", i)
			}
			if failed := regexp.MustCompile(`--- FAIL: (\w+)`).FindSubmatch(out); m.core && failed != nil {
				t.Logf("noticed by %s", failed[1])
				return
			}
			found := regexp.MustCompile(`-seed=(\d+)\n\s*(.*)`).FindSubmatch(out)
			if found == nil {
				t.Fatalf("it ended otherwise:\n%s", out)
			}
			t.Logf("noticed by seed %s: %s", found[1], strings.TrimSpace(string(found[2])))
		})
	}
}
