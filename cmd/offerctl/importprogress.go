package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// An importState tells how far a list has been sent. It is kept in a file beside the
// list, from the first event until all are sent, so that the same command goes on
// after it was interrupted. The events of at most one request are sent again then.
type importState struct {
	Content string `json:"content"` // a hash of the list
	To      string `json:"to"`
	ID      string `json:"id"`
	Line    int    `json:"line"` // the list is sent up to this line
}

func stateFile(list string) string { return list + ".progress" }

// resume reads how far an earlier run came that sent the same to the same gateway.
// other says what an earlier run did instead that did not end; "" if there is none.
func (s *importState) resume(list string) (other string, err error) {
	b, err := os.ReadFile(stateFile(list))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var was importState
	if err := json.Unmarshal(b, &was); err != nil || was.Line < 0 {
		return "", fmt.Errorf("%s is not what an import has written: remove it, then the list is sent from its beginning", stateFile(list))
	}
	line := was.Line
	was.Line = 0
	switch {
	case was == *s:
		s.Line = line
	case was.To != s.To:
		other = "to " + was.To
	case was.ID != s.ID:
		other = "with --id " + was.ID
	default:
		other = "when it was another file"
	}
	if other != "" {
		other = fmt.Sprintf("an earlier run sent it up to line %d %s", line, other)
	}
	return other, nil
}

// keep writes the state.
func (s *importState) keep(list string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := beginFile(stateFile(list))
	if err == nil {
		defer f.drop()
		if _, err = f.Write(append(b, '\n')); err == nil {
			err = f.done()
		}
	}
	if err != nil {
		return fmt.Errorf("how far the import has come is kept beside the list: %w: put the list into a directory to which you may write", err)
	}
	return nil
}

// A pace spreads events over time.
type pace struct {
	rate float64 // a second; 0: as fast as possible
	next time.Time
}

// catchUp bounds how much of the time that a gateway could not take events is made
// up for: it should not get all of them at once when it can.
const catchUp = time.Second

// wait returns how long to wait at a time before so many events are sent.
func (p *pace) wait(now time.Time, events int) time.Duration {
	if p.rate == 0 {
		return 0
	}
	if least := now.Add(-catchUp); p.next.IsZero() {
		p.next = now
	} else if p.next.Before(least) {
		p.next = least
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(events) / p.rate * float64(time.Second)))
	return max(wait, 0)
}
