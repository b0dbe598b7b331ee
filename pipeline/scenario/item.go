package scenario

import (
	"fmt"
	"strings"

	"offerstream/pipeline/value"
)

const itemHint = `write for example: 10:00:00 item product/p1 Price Changed price=90; a user of that name is "item", in quotes`

// readItem reads a line of an event about an item: the word item, the item's kind, /
// and its key, the event's name, and its properties as pairs name=value. It returns
// nil for any other line.
func readItem(w *words, ns int64) ([]byte, *Mistake) {
	if !w.word("item") {
		return nil, nil
	}
	kind, id, wrong := w.item(itemHint)
	if wrong != nil {
		return nil, wrong
	}
	w.done()
	from := w.at
	e := spoken{time: ns, kind: "track"} // so that each word belongs to the name
	if wrong := e.what(w); wrong != nil {
		return nil, wrong
	}
	switch {
	case e.name == "":
		return nil, &Mistake{from, "the event is missing", itemHint}
	case e.context != nil:
		return nil, &Mistake{from, "an event about an item has no context", "write its properties as name=value"}
	}
	b := fmt.Appendf(nil, `{"type":"item","kind":%s,"id":%s,"event":%s`, quote(kind), quote(id), quote(e.name))
	if e.id != "" {
		b = fmt.Appendf(b, `,"messageId":%s`, quote(e.id))
	}
	b = fmt.Appendf(b, `,"timestamp":%q`, value.FormatTime(ns))
	return append(e.appendPairs(b, "properties"), '}'), nil
}

// item reads the kind of an item, / and its key.
func (w *words) item(hint string) (kind, id string, wrong *Mistake) {
	if w.done() {
		return "", "", &Mistake{w.at, "the item is missing", hint}
	}
	from := w.at
	kind, id, wrong = w.path()
	if wrong == nil && (kind == "" || strings.ContainsAny(kind, `="`) || id == "") {
		wrong = &Mistake{from, fmt.Sprintf("%q is not a kind of items and a key", w.text[from:w.at]), hint}
	}
	return kind, id, wrong
}
