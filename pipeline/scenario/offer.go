package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/value"
)

// An Offer holds the fields of an offer that a line of expect has. Data is JSON
// in canonical form, so that equal data are equal texts: without white space,
// maps sorted by key, numbers in their shortest form. It is empty if the offer
// has no data.
type Offer struct {
	Time      int64
	User      string
	Anonymous bool
	Campaign  string // with its row: name/row
	Key       string
	Withheld  bool // the user is in a holdout, so it did not go out
	Data      string
	AnyData   bool // only in what is expected: the data are not compared
}

// Same reports whether an offer is the expected one. Either may be the expected
// one.
func (o Offer) Same(p Offer) bool {
	if o.AnyData || p.AnyData {
		o.Data, o.AnyData = p.Data, p.AnyData
	}
	return o == p
}

// unnamed stands for data that are not compared.
const unnamed = "..."

const offerHint = `write for example: 10:01:30 ada bag-fan title="Bags, 10% off"`

// ReadOffer reads a line of expect: time, user, campaign, the word withheld if
// the offer is, and the data as pairs name=value or as JSON. The campaign may be
// followed by /row, if it has rows, and by /key. In place of the data, ... stands
// for any. rows tells which campaigns have rows; nil: none has.
func ReadOffer(text string, day Day, rows func(campaign string) bool) (o Offer, wrong *Mistake) {
	w := &words{text: text}
	if o.Time, wrong = day.read(w, momentHint); wrong != nil {
		return o, wrong
	}
	if o.User, o.Anonymous, wrong = user(w); wrong != nil {
		return o, wrong
	}
	if o.Campaign, o.Key, wrong = readCampaign(w, rows); wrong != nil {
		return o, wrong
	}
	o.Withheld = w.word("withheld")
	if o.AnyData = w.rest() == unnamed; o.AnyData {
		return o, nil
	}
	o.Data, wrong = data(w)
	return o, wrong
}

// readCampaign reads a campaign's name, a row after / if it has rows, and a key
// after /.
func readCampaign(w *words, rows func(string) bool) (name, key string, wrong *Mistake) {
	if w.done() {
		return "", "", &Mistake{w.at, "the campaign is missing", offerHint}
	}
	from := w.at
	w.at += until(w.text[from:], space+"/")
	name = w.text[from:w.at]
	if name == "" || strings.ContainsAny(name, `="`) {
		return "", "", &Mistake{from, fmt.Sprintf("%q is not a campaign's name", name), offerHint}
	}
	if rows != nil && rows(name) && w.at < len(w.text) && w.text[w.at] == '/' {
		w.at++
		w.at += until(w.text[w.at:], space+"/")
		name = w.text[from:w.at]
	}
	w.at = from + len(name)
	if w.at < len(w.text) && w.text[w.at] == '/' {
		_, key, wrong = w.path()
	}
	return name, key, wrong
}

// data reads the rest of the line.
func data(w *words) (string, *Mistake) {
	rest := w.rest()
	if rest == "" {
		return "", nil
	}
	if json.Valid([]byte(rest)) {
		return canonical([]byte(rest)), nil
	}
	if strings.IndexByte("{[", rest[0]) >= 0 {
		_, wrong := w.json()
		if wrong == nil {
			wrong = &Mistake{w.at, "unexpected text after the data", offerHint}
		}
		return "", wrong
	}
	pairs := map[string]any{}
	before := ""
	for !w.done() {
		t, wrong := w.next()
		switch {
		case wrong != nil:
			return "", wrong
		case !t.pair && before != "":
			return "", &Mistake{t.at, fmt.Sprintf("unexpected %q after %s=...", t.text, before), fmt.Sprintf(`put a text of several words in quotes: %s="..."`, before)}
		case !t.pair:
			return "", &Mistake{t.at, fmt.Sprintf("the offer's data cannot begin with %s", show(t.text, "")), "write name=value, or JSON"}
		case pairs[t.text] != nil:
			return "", &Mistake{t.at, fmt.Sprintf("%s appears twice", t.text), "keep one"}
		}
		pairs[t.text], before = t.value, t.text
	}
	return canonical(compact(pairs)), nil
}

// canonical returns JSON in canonical form, or b itself if it is not one JSON
// value.
func canonical(b []byte) string {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return string(b)
	}
	if _, err := dec.Token(); err != io.EOF {
		return string(b)
	}
	return string(compact(shortest(v)))
}

// shortest rewrites the numbers in v as templates write them: integers
// unchanged, others with the fewest digits that parse back to the same number.
func shortest(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = shortest(x)
		}
	case []any:
		for i, x := range v {
			v[i] = shortest(x)
		}
	case json.Number:
		if f, err := v.Float64(); err == nil && strings.ContainsAny(string(v), ".eE") {
			return json.RawMessage(value.FormatDouble(f))
		}
	}
	return v
}

// offerOf returns the fields of an offer that a line of expect has.
func offerOf(o *pipeline.Offer) (Offer, error) {
	ns, err := value.ParseTime(o.Time)
	if err != nil {
		return Offer{}, fmt.Errorf("an offer's time: %w", err)
	}
	e := Offer{Time: ns, User: o.User, Anonymous: o.Anon, Campaign: o.Campaign, Key: o.Key, Withheld: o.Withheld}
	if len(o.Data) > 0 {
		e.Data = canonical(o.Data)
	}
	return e, nil
}

// Show writes the offer as a line of expect.
func (o Offer) Show(day Day) string { return strings.Join(o.columns(day), " ") }

// columns returns the parts of an offer's line: time, user, campaign, and the
// data if there is any.
func (o Offer) columns(day Day) []string {
	user := show(o.User, "~")
	if o.Anonymous {
		user = "~" + show(o.User, "")
	}
	campaign := o.Campaign
	if o.Key != "" {
		campaign += "/" + show(o.Key, "")
	}
	if o.Withheld {
		campaign += " withheld"
	}
	cols := []string{day.Show(o.Time), user, campaign}
	switch {
	case o.AnyData:
		cols = append(cols, unnamed)
	case o.Data != "":
		cols = append(cols, showData(o.Data))
	}
	return cols
}

// showData writes data as pairs name=value if it is a map, else as JSON.
func showData(data string) string {
	var m map[string]json.RawMessage
	if json.Unmarshal([]byte(data), &m) != nil || len(m) == 0 {
		return printable([]byte(data))
	}
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	pairs := make([]string, len(names))
	for i, name := range names {
		pairs[i] = show(name, "{[") + "=" + showValue(m[name])
	}
	return strings.Join(pairs, " ")
}

// showValue writes JSON in canonical form as a value after name=.
func showValue(b []byte) string {
	var text string
	if json.Unmarshal(b, &text) == nil && bytes.Equal(plainValue(text), b) && show(text, "[{") == text {
		return text
	}
	return printable(b)
}
