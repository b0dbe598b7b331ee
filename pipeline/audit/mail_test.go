package audit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// mailsTo1 returns mails of partition 0 to partition 1, one from each message.
func mailsTo1(from, to int) (all []pipeline.Effect) {
	for n := from; n <= to; n++ {
		all = append(all, pipeline.Effect{Chain: pipeline.MailChain(1), Pos: pipeline.Position{N: uint64(n), S: uint64(n + 1), T: int64(n)}, Mail: fmt.Appendf(nil, "mail %d", n)})
	}
	return all
}

// verifyMails compares mails, as if the fold of a log with so many messages gave them,
// with those that are stored.
func verifyMails(t *testing.T, c *broker.Conn, end uint64, before map[string]pipeline.Chain, settle time.Duration, given []pipeline.Effect) (MailSums, []Example) {
	t.Helper()
	v := &verification{reading: newReading(newReplay(c, 0, t.TempDir(), quiet(), nil, nil)), opt: &VerifyOptions{Settle: settle}, before: before, newest: end, left: settle, mails: map[int]*mailComparison{}}
	v.end = end
	defer v.close()
	for _, e := range given {
		if err := v.compareMail(within(t), e.Pos.S, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.finishMails(within(t)); err != nil {
		t.Fatal(err)
	}
	return v.sums.Mails, v.examples
}

// TestVerifyMails compares the mails that a log gives with those that are stored.
func TestVerifyMails(t *testing.T) {
	all := mailsTo1(1, 10)
	changed := func(i int, change func(*pipeline.Effect)) []pipeline.Effect {
		es := mailsTo1(1, 10)
		change(&es[i])
		return es
	}
	without := append(mailsTo1(1, 4), mailsTo1(6, 10)...)
	for _, tc := range []struct {
		name   string
		stored [][]pipeline.Effect // in messages
		given  []pipeline.Effect
		want   MailSums
		words  string
	}{
		{"exact", [][]pipeline.Effect{all[:3], all[3:4], all[4:]}, all, MailSums{Given: 10, Stored: 10}, ""},
		{"none", nil, nil, MailSums{}, ""},
		{"an old pack again", [][]pipeline.Effect{all[:6], all[2:5], all[6:]}, all, MailSums{Given: 10, Stored: 10}, ""},
		{"one is missing", [][]pipeline.Effect{without[:2], without[2:]}, all, MailSums{Given: 10, Stored: 9, Missing: 1}, "missing: mail 5 of events.1.from.0, from message 6"},
		{"the last ones are missing", [][]pipeline.Effect{all[:8]}, all, MailSums{Given: 10, Stored: 8, Missing: 2}, "missing: mail 9"},
		{"all are missing", nil, all, MailSums{Given: 10, Missing: 10}, "missing: mail 1"},
		{"other data", [][]pipeline.Effect{changed(3, func(e *pipeline.Effect) { e.Mail = []byte("x") })}, all, MailSums{Given: 10, Stored: 10, Different: 1}, "other data"},
		{"another position", [][]pipeline.Effect{changed(3, func(e *pipeline.Effect) { e.Pos.T++ })}, all, MailSums{Given: 10, Stored: 10, Different: 1}, "it is stored as"},
		{"one too many", [][]pipeline.Effect{all}, without, MailSums{Given: 9, Stored: 10, Extra: 1}, "the log does not give it"},
		{"more than the log gives", [][]pipeline.Effect{all}, all[:8], MailSums{Given: 8, Stored: 10, Extra: 2}, "extra: mail 9"},
		{"the log gives none", [][]pipeline.Effect{all}, nil, MailSums{Stored: 10, Extra: 10}, "extra: mail 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := connect(t, startNATS(t, t.TempDir()).ClientURL(), 2)
			after := uint64(0)
			for _, pack := range tc.stored {
				tail, err := c.PublishMails(within(t), 0, pack, after)
				if err != nil {
					t.Fatal(err)
				}
				after = tail.Seq
			}
			sums, examples := verifyMails(t, c, 11, nil, 0, tc.given)
			if sums != tc.want {
				t.Errorf("got %+v, want %+v", sums, tc.want)
			}
			if tc.words != "" && (len(examples) == 0 || !strings.Contains(examples[0].String(), tc.words)) {
				t.Errorf("got %v, want %s", examples, tc.words)
			}
		})
	}
}

// TestVerifyMailsLive: mails that are not stored yet are waited for, those from after
// the log's end are left alone, and those that have expired do not count.
func TestVerifyMailsLive(t *testing.T) {
	all := mailsTo1(1, 20)
	c := connect(t, startNATS(t, t.TempDir()).ClientURL(), 2)
	first, err := c.PublishMails(within(t), 0, all[:5], 0)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(100 * time.Millisecond)
		if _, err := c.PublishMails(within(t), 0, all[5:10], first.Seq); err != nil {
			t.Error(err)
		}
	}()
	if sums, examples := verifyMails(t, c, 11, nil, time.Minute, all[:10]); sums != (MailSums{Given: 10, Stored: 10}) {
		t.Errorf("got %+v: %v", sums, examples)
	}
	for range 21 { // the verification's log ends at message 11, the partition's goes on
		if _, err := c.JS.Publish(within(t), c.Names.EventsSubject(0, "in"), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	tail, err := c.MailTail(within(t), 0, 1)
	if err == nil {
		_, err = c.PublishMails(within(t), 0, all[10:], tail.Seq)
	}
	if err != nil {
		t.Fatal(err)
	}
	if sums, examples := verifyMails(t, c, 11, nil, time.Minute, all[:10]); sums != (MailSums{Given: 10, Stored: 10}) {
		t.Errorf("got %+v: %v", sums, examples)
	}
	behind := map[string]pipeline.Chain{pipeline.MailChain(1): {Last: all[6].Pos}}
	if sums, examples := verifyMails(t, c, 11, behind, time.Minute, all[7:10]); sums != (MailSums{Given: 3, Stored: 3}) {
		t.Errorf("got %+v: %v", sums, examples)
	}
	st, err := c.JS.Stream(within(t), c.Names.EventsStream(1))
	if err == nil {
		err = st.Purge(within(t), jetstream.WithPurgeSequence(first.Seq+1))
	}
	if err != nil {
		t.Fatal(err)
	}
	if sums, examples := verifyMails(t, c, 11, nil, 0, all[:10]); sums != (MailSums{Given: 10, Stored: 5, Trimmed: 5}) {
		t.Errorf("got %+v: %v", sums, examples)
	}
}

// TestAcceptMails: an acceptance lists the mails that are lost, as far as can be known,
// and sends its own behind what is there, once also if it is started again.
func TestAcceptMails(t *testing.T) {
	url := startNATS(t, t.TempDir()).ClientURL()
	c := connect(t, url, 3)
	all := mailsTo1(1, 8)
	if _, err := c.PublishMails(within(t), 0, all[:5], 0); err != nil {
		t.Fatal(err)
	}
	to2 := mailsTo1(1, 8)
	for i := range to2 {
		to2[i].Chain = pipeline.MailChain(2)
	}
	if _, err := c.PublishMails(within(t), 0, to2, 0); err != nil {
		t.Fatal(err)
	}
	st, err := c.JS.Stream(within(t), c.Names.EventsStream(2))
	if err == nil {
		err = st.Purge(within(t))
	}
	if err != nil {
		t.Fatal(err)
	}

	// accept begins an acceptance whose fold has stopped at some chains.
	accept := func() *acceptance {
		a := newAcceptance(c, accepting(t, url))
		a.done.LostMails = map[int]int{}
		if a.mails, err = a.mailsBefore(within(t)); err != nil {
			t.Fatal(err)
		}
		chains := map[string]pipeline.Chain{}
		for q := range 3 {
			chains[pipeline.MailChain(q)] = pipeline.Chain{}
		}
		if a.fold, err = pipeline.NewFold(pipeline.Cursor{Chains: chains}, nil, pipeline.Memory{}); err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := accept()
	for i, e := range all {
		if got := a.mails.lost(e); got != (i >= 5) {
			t.Errorf("mail %d is lost: %v", i+1, got)
		}
	}
	other := all[4]
	other.Pos.T++
	if !a.mails.lost(other) {
		t.Error("the tail is of another log, and its mail is not lost")
	}
	if a.mails.lost(to2[7]) {
		t.Error("a mail is lost, but it may have expired")
	}

	// It sends a mark to each partition, and one more mail to partition 1.
	var own []pipeline.Effect
	for q := range 3 {
		own = append(own, pipeline.Effect{Chain: pipeline.MailChain(q), Pos: pipeline.Position{S: 9, T: 9, G: 9}, Mail: []byte("mark")})
	}
	own = append(own, pipeline.Effect{Chain: pipeline.MailChain(1), Pos: pipeline.Position{N: 1, S: 9, K: 1, T: 9, G: 9}, Mail: []byte("more")})
	send := func(a *acceptance, es []pipeline.Effect) {
		for _, e := range es {
			if err := a.send(within(t), e); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.sendAll(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	send(a, own[:2]) // it is interrupted
	a = accept()
	send(a, own)
	for q, want := range [][]pipeline.Position{{own[0].Pos}, {all[0].Pos, all[1].Pos, all[2].Pos, all[3].Pos, all[4].Pos, own[1].Pos, own[3].Pos}, {own[2].Pos}} {
		var got []pipeline.Position
		if err := c.ScanLog(within(t), q, 1, func(m pipeline.Message) error {
			return pipeline.EachPacked(m.Data, func(at pipeline.Position, _ []byte) error { got = append(got, at); return nil })
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("partition %d has %+v, want %+v", q, got, want)
		}
		tail, err := c.MailTail(within(t), 0, q)
		if sent := a.fold.Cursor().Chains[pipeline.MailChain(q)].Sent; err != nil || sent != tail.Seq {
			t.Errorf("the state knows message %d of partition %d as stored, the tail is %+v, %v", sent, q, tail, err)
		}
	}
}
