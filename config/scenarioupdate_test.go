package config

import (
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/scenario"
)

// TestUpdate: the actual results replace the expected ones, and the rest of the
// file stays, including comments.
func TestUpdate(t *testing.T) {
	const head = `# A file.
campaigns:
  c: {on: [View, Look], offer: {channel: web, data: {title: "{{ event.properties.title }}"}}}
  d: {on: Look, offer: {channel: kiosk, kind: service}}
scenarios:   # three
  one:
    events: [10:00:00 ada View title=a, 10:00:01 ada View title=b, 10:00:02 ada Look title=c]
`
	for name, c := range map[string][2]string{
		"one is replaced, one is added, comments stay": {`    expect:     # offers
      # the first
      - 10:00:00 ada c title=x   # keep this
      - 10:00:01 ada c {"title":"b"}

      # the last
      - 10:00:02 ada c title=c
    outcomes: {c: {fired: 0, evaluated: 3}, d: {limit: 7}}  # numbers
`, `    expect:     # offers
      # the first
      - 10:00:00 ada c title=a   # keep this
      - 10:00:01 ada c {"title":"b"}

      # the last
      - 10:00:02 ada c title=c
      - 10:00:02 ada d
    outcomes: {c: {fired: 3, evaluated: 3}, d: {limit: 0}}  # numbers
`},
		"any data stay any data": {`    expect:
      - 10:00:00 ada c ...
      - 10:00:03 ada c ...   # the time is wrong
      - 10:00:02 ada c title=c
      - 10:00:02 ada d
`, `    expect:
      - 10:00:00 ada c ...
      - 10:00:01 ada c ...   # the time is wrong
      - 10:00:02 ada c title=c
      - 10:00:02 ada d
`},
		"also in a list that is rewritten": {`    expect: [10:00:00 ada c ..., 10:00:02 ada d]
`, `    expect:
      - 10:00:00 ada c ...
      - 10:00:01 ada c title=b
      - 10:00:02 ada c title=c
      - 10:00:02 ada d
`},
		"one too many": {`    expect:
      - 10:00:00 ada c title=a
      - 10:00:01 ada c title=b
      - 10:00:01 ada c title=b  # goes
      - 10:00:02 ada c title=c
      - 10:00:02 ada d`, `    expect:
      - 10:00:00 ada c title=a
      - 10:00:01 ada c title=b
      - 10:00:02 ada c title=c
      - 10:00:02 ada d`},
		"before the first, and a last line without an end": {`    expect:
    - '10:00:01 ada c title="b"'
    - "10:00:02 ada c title=c"`, `    expect:
    - 10:00:00 ada c title=a
    - '10:00:01 ada c title="b"'
    - "10:00:02 ada c title=c"
    - 10:00:02 ada d
`},
		"none becomes a list": {`    expect: none   # so far
    about: d
`, `    expect:   # so far
      - 10:00:02 ada d
    about: d
`},
		"nothing becomes a list": {`    expect:
  # another
  two: {events: [10:00:00 ada Nothing], expect: []}
`, `    expect:
      - 10:00:00 ada c title=a
      - 10:00:01 ada c title=b
      - 10:00:02 ada c title=c
      - 10:00:02 ada d
  # another
  two: {events: [10:00:00 ada Nothing], expect: []}
`},
		"a list in brackets gets lines": {`    expect: [10:00:00 ada c title=a, '10:00:02 ada c title="]"']
    duplicates: 0
`, `    expect:
      - 10:00:00 ada c title=a
      - 10:00:01 ada c title=b
      - 10:00:02 ada c title=c
      - 10:00:02 ada d
    duplicates: 0
`},
		"a list becomes none": {`    expect: none
    about: d
  two:
    events: [10:00:00 ada Nothing]
    expect:   # why
      - 10:00:00 ada c
      # and
      - 10:00:00 ada d
`, `    expect:
      - 10:00:02 ada d
    about: d
  two:
    events: [10:00:00 ada Nothing]
    expect: none   # why
      # and
`},
		"text that YAML would read differently is quoted": {`    expect: none
    about: d
  two:
    events:
      - '10:00:00 ada View title="it''s: #1 #2"'
      - 10:00:01 ada View title=" "
    expect: none
`, `    expect:
      - 10:00:02 ada d
    about: d
  two:
    events:
      - '10:00:00 ada View title="it''s: #1 #2"'
      - 10:00:01 ada View title=" "
    expect:
      - '10:00:00 ada c title="it''s: #1 #2"'
      - 10:00:01 ada c title=" "
`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, ends := range []string{"\n", "\r\n"} {
				from, want := head+c[0], head+c[1]
				from, want = strings.ReplaceAll(from, "\n", ends), strings.ReplaceAll(want, "\n", ends)
				got, err := update1("\ufeff" + from)
				if err != nil {
					t.Fatal(err)
				}
				if got != "\ufeff"+want {
					t.Errorf("got:\n%s\nwant:\n%s", got, want)
				}
				if again, err := update1(got); err != nil || again != got {
					t.Errorf("once more: %v\n%s", err, again)
				}
			}
		})
	}
	if _, err := update1(head + "    expect: none\n  two: {events: [10:00:00 ada View title=a], expect: none}\n"); err == nil || !strings.Contains(err.Error(), "put expect on its own line") {
		t.Errorf("within braces: %v", err)
	}
}

// update1 runs all scenarios of a file and updates it.
func update1(text string) (string, error) {
	f, err := (&Scenarios{Fill: true}).read("x.test.yaml", []byte(text))
	if err != nil {
		return "", err
	}
	var results []*scenario.Result
	for _, s := range f.Scenarios {
		r, err := s.Run()
		if err != nil {
			return "", err
		}
		results = append(results, r)
	}
	b, err := f.Update(results)
	if err != nil {
		return "", err
	}
	again, err := f.Again(b)
	if err != nil {
		return "", err
	}
	for i, s := range again.Scenarios {
		if wrong := s.Compare(results[i]); wrong != "" {
			return "", fmt.Errorf("the updated file does not have the actual results:\n%s\n%s", wrong, b)
		}
	}
	return string(b), nil
}
