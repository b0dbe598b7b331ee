package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// words reads a line word by word. A word is a JSON string, or ends at white
// space; a pair is name=value.
type words struct {
	text string
	at   int
}

// A word is a piece of a line.
type word struct {
	at     int
	text   string
	quoted bool
	pair   bool
	value  json.RawMessage // of a pair
	valueA int             // where the value begins
}

const space = " \t\r\n"

// done skips white space and reports whether the line ends there.
func (w *words) done() bool {
	for w.at < len(w.text) && strings.IndexByte(space, w.text[w.at]) >= 0 {
		w.at++
	}
	return w.at == len(w.text)
}

// rest returns the text that has not been read.
func (w *words) rest() string {
	w.done()
	return strings.TrimRight(w.text[w.at:], space)
}

// path reads a name, and what follows after /, which is quoted if it is not a
// single word.
func (w *words) path() (name, key string, wrong *Mistake) {
	from := w.at
	w.at += until(w.text[from:], space+"/")
	name = w.text[from:w.at]
	if w.at == len(w.text) || w.text[w.at] != '/' {
		return name, "", nil
	}
	w.at++
	if w.at < len(w.text) && w.text[w.at] == '"' {
		raw, wrong := w.json()
		if wrong != nil {
			return "", "", wrong
		}
		json.Unmarshal(raw, &key) // cannot fail: raw is a valid JSON string
		return name, key, nil
	}
	return name, w.plain().text, nil
}

// plain returns the text up to the next white space, also if it contains quotes
// or =.
func (w *words) plain() word {
	w.done()
	from := w.at
	w.at += until(w.text[from:], space)
	return word{at: from, text: w.text[from:w.at]}
}

func until(s, stops string) int {
	if n := strings.IndexAny(s, stops); n >= 0 {
		return n
	}
	return len(s)
}

// word reports whether the next word is this one, and if so, reads it.
func (w *words) word(text string) bool {
	w.done()
	rest, ok := strings.CutPrefix(w.text[w.at:], text)
	if !ok || rest != "" && strings.IndexByte(space, rest[0]) < 0 {
		return false
	}
	w.at += len(text)
	return true
}

// next returns the next word or pair. The line must not be done.
func (w *words) next() (word, *Mistake) {
	w.done()
	t := word{at: w.at}
	if w.text[w.at] == '"' {
		raw, wrong := w.json()
		if wrong != nil {
			return t, wrong
		}
		t.quoted = true
		json.Unmarshal(raw, &t.text) // cannot fail: raw is a valid JSON string
	} else {
		w.at += until(w.text[w.at:], space+"=")
		t.text = w.text[t.at:w.at]
	}
	if w.at == len(w.text) || w.text[w.at] != '=' {
		return t, nil
	}
	if t.text == "" {
		return t, &Mistake{t.at, "the name before = is missing", "write name=value"}
	}
	w.at++
	t.pair, t.valueA = true, w.at
	var wrong *Mistake
	t.value, wrong = w.value(t.text)
	return t, wrong
}

// value reads the value after name=: JSON, or a word.
func (w *words) value(name string) (json.RawMessage, *Mistake) {
	from := w.at
	n := until(w.text[from:], space)
	if n == 0 {
		return nil, &Mistake{from, fmt.Sprintf("the value after %s= is missing", name), fmt.Sprintf(`write %s="" for an empty text`, name)}
	}
	if strings.IndexByte(`"{[`, w.text[from]) >= 0 {
		return w.json()
	}
	w.at += n
	return plainValue(w.text[from:w.at]), nil
}

// plainValue returns the JSON of a word: a number, true, false, null, or text.
func plainValue(text string) json.RawMessage {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return quote(text)
}

// json reads a JSON string, list or map.
func (w *words) json() (json.RawMessage, *Mistake) {
	from := w.at
	dec := json.NewDecoder(strings.NewReader(w.text[from:]))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		if w.text[from] == '"' {
			return nil, &Mistake{from, "the quote is not closed, or the text in it is not valid JSON", `end it with ", and write \" for a quote inside`}
		}
		return nil, &Mistake{from, "this is not JSON: " + err.Error(), `texts and keys in it need quotes: {"id":"b1"}`}
	}
	w.at = from + int(dec.InputOffset())
	if w.at < len(w.text) && strings.IndexByte(space+"=", w.text[w.at]) < 0 {
		return nil, &Mistake{w.at, "a space is missing here", ""}
	}
	return raw, nil
}

// quote returns a text as JSON, in which < and & are not escaped.
func quote(s string) json.RawMessage { return compact(s) }

// compact returns a value as JSON without white space, maps sorted by key.
func compact(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // cannot happen: v was read from JSON
		panic("scenario: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// show writes a text as one word, quoted if it would not be read as one.
func show(text string, unless string) string {
	if text == "" || strings.ContainsAny(text, unless+space+`="`) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return printable(quote(text))
	}
	return text
}
