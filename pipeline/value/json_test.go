package value

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/valyala/fastjson"
)

// TestParse: of two spellings of one key the first counts, whichever is looked up
// first, and half a surrogate pair is U+FFFD, wherever it stands.
func TestParse(t *testing.T) {
	const doc = `{"user\u0049d":"a","userId":"b","x":[{"k":"1","\u006b":"2"},{"\u006b":"3","k":"4"}],"half\ud83d":"c","half\udE00":"d"}`
	for _, first := range []string{"userId", "nothing"} {
		v, err := Parse(new(fastjson.Parser), []byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		v.Get(first)
		for want, path := range map[string][]string{"a": {"userId"}, "1": {"x", "0", "k"}, "3": {"x", "1", "k"}, "c": {"half\uFFFD"}} {
			if got := AliasText(v.Get(path...)); got != want {
				t.Errorf("%v is %q, want %q", path, got, want)
			}
		}
	}
}

// FuzzParse checks that a text reads as encoding/json reads it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`\ud83d`, `\uD83D\uDE00`, `\ud83d\u0041`, `\ud83dA`, `\ud83d\ud83d\ude00`, `\ude00\ud83d`, `\ud83d\\ude00`, `\\ud83d`, `\\\ud83d`, `\ud83d\n`,
		`a\ud83d`, `\ud83d\ude0`, `\u0000\/\b\f\n\r\t\"\\`, `\u00e9é`, `\ufffd`, `\uDFFF\uDFFF`, "\\ud83d\u00e9", `x\`, `\u`, `\ud83`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		quoted := append(append([]byte{'"'}, text...), '"')
		doc := append(append(append([]byte(`{`), quoted...), ':'), append(quoted, '}')...)
		before := bytes.Clone(doc)
		var want map[string]string
		if !json.Valid(doc) || json.Unmarshal(doc, &want) != nil || len(want) != 1 || bytes.Contains(doc, []byte("\xef\xbf\xbd")) {
			return
		}
		for _, b := range doc {
			if b >= 0x80 {
				return // invalid UTF-8 is refused before it is parsed
			}
		}
		v, err := Parse(new(fastjson.Parser), doc)
		if err != nil {
			t.Fatal(err)
		}
		for key, val := range want {
			if got := AliasText(v.Get(key)); got != val {
				t.Errorf("%s: %q is %q, want %q", doc, key, got, val)
			}
		}
		if !bytes.Equal(doc, before) {
			t.Errorf("%s was changed to %s", before, doc)
		}
	})
}

func TestDecimal(t *testing.T) {
	for number, want := range map[string]string{
		"17": "17", "17.0": "17", "1.7e1": "17", "-0": "0", "-0.0": "0", "0e5": "0", "-5": "-5", "1e21": "1000000000000000000000", "0.10": "0.1", "1.5e-7": "0.00000015",
		"9007199254740993": "9007199254740993", "-123456789012345678901234567890": "-123456789012345678901234567890", "1e999": "", "-1e999": "",
	} {
		got, ok := Decimal(fastjson.MustParse(number))
		if ok != (want != "") || got != want {
			t.Errorf("%s is %q, %v; want %q", number, got, ok, want)
		}
	}
}

// TestAppendJSONString: what is written reads back as the same text, of which each
// byte that is no UTF-8 is U+FFFD, and has no control characters.
func TestAppendJSONString(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	parts := []string{"a", `"`, `\`, "\n", "\t", "\r", "\b", "\f", "\x00", "\x1f", "\x7f", "é", "가", "😀", "\u2028", "\xff", "\xed\xa0\x80", "<&>", "\ufffd"}
	for range 5000 {
		s := ""
		for range rng.IntN(8) {
			s += parts[rng.IntN(len(parts))]
		}
		b := AppendJSONString(nil, s)
		var back string
		if err := json.Unmarshal(b, &back); err != nil || back != string([]rune(s)) || bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("%q is written as %s, which reads as %q, %v", s, b, back, err)
		}
	}
}
