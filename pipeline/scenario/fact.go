package scenario

import (
	"fmt"
	"strings"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

const factHint = "write for example: 10:00:00 fact weather/seoul dust=90"

// readFact reads a line of a fact: the word fact, the fact's name, / and its key,
// and its fields as pairs name=value. It returns nil for any other line.
func readFact(w *words, ns int64) ([]byte, *Mistake) {
	if !w.word("fact") {
		return nil, nil
	}
	if w.done() {
		return nil, &Mistake{w.at, "the fact is missing", factHint}
	}
	from := w.at
	name, key, wrong := w.path()
	switch {
	case wrong != nil:
		return nil, wrong
	case name == "" || strings.ContainsAny(name, `="`) || key == "":
		return nil, &Mistake{from, fmt.Sprintf("%q is not a fact and its key", w.text[from:w.at]), factHint}
	}
	values := map[string]any{}
	for !w.done() {
		t, wrong := w.next()
		switch {
		case wrong != nil:
			return nil, wrong
		case !t.pair:
			return nil, &Mistake{t.at, fmt.Sprintf("unexpected %q", t.text), factHint}
		case values[t.text] != nil:
			return nil, &Mistake{t.at, fmt.Sprintf("%s appears twice", t.text), "keep one"}
		}
		values[t.text] = t.value
	}
	if len(values) == 0 {
		return nil, &Mistake{w.at, fmt.Sprintf("the fact %s/%s has no fields", name, key), factHint}
	}
	return event.AppendFact(nil, name, key, compact(values), fmt.Sprintf(`"timestamp":%q`, value.FormatTime(ns))), nil
}
