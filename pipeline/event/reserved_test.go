package event

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestReservedInReadme: README.md has a row for each row of the table.
func TestReservedInReadme(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Reserved {
		what := cmp.Or(r.Name, "type `"+r.Type+"`")
		by := strings.ReplaceAll(cmp.Or(r.By.String(), "nobody"), " or ", ", ")
		if r.Self {
			by += ", or a proved user about himself"
		}
		if row := fmt.Sprintf("| %s | %s |", what, by); !strings.Contains(string(b), row) {
			t.Errorf("README.md lacks the row\n%s", row)
		}
	}
}

// TestFact: what makes a fact, and what it lacks otherwise.
func TestFact(t *testing.T) {
	for raw, want := range map[string]string{
		`{"type":"fact","fact":"weather","key":"seoul","values":{"dust":90},"messageId":"m"}`:     "weather f:weather:seoul m",
		`{"type":"fact","fact":"w","key":7,"values":[],"userId":9,"messageId":"m"}`:               "w f:w:7 m",
		`{"type":"fact","fact":1.50,"key":"a:b","values":{},"messageId":7}`:                       "1.5 f:1.5:a:b 7",
		`{"type":"fact","fact":"w","f\u0061ct":"x","key":"k","values":{},"messageId":"m"}`:        "w f:w:k m",
		`{"type":"fact","fact":"` + strings.Repeat("x", 510) + `","key":"k","values":{}}`:         "",
		`{"type":"system","event":"Offer Shown","userId":"u","messageId":"m"}`:                    "Offer Shown u:u m",
		`{"type":"system","event":"Offer \u0053hown","anonymousId":"u","messageId":"m","name":1}`: "Offer Shown a:u m",
	} {
		ev, err := new(Decoder).Decode([]byte(raw))
		if err != nil {
			t.Errorf("%.80s: %v", raw, err)
			continue
		}
		if want != "" && fmt.Sprint(ev.Name, " ", ev.Key, " ", ev.ID) != want {
			t.Errorf("%s reads as %q %q %q", raw, ev.Name, ev.Key, ev.ID)
		}
		compareScan(t, []byte(raw))
	}
	for raw, reason := range map[string]string{
		`{"type":"fact","key":"k","values":{}}`:                                           "name",
		`{"type":"fact","fact":"","key":"k","values":{}}`:                                 "name",
		`{"type":"fact","fact":"a:b","key":"k","values":{}}`:                              "name",
		`{"type":"fact","fact":{},"key":"k","values":{}}`:                                 "name",
		`{"type":"fact","fact":1e999,"key":"k","values":{}}`:                              "name",
		`{"type":"fact","fact":"w","values":{},"userId":"u"}`:                             "identity",
		`{"type":"fact","fact":"w","key":null,"values":{}}`:                               "identity",
		`{"type":"fact","fact":"w","key":"a\nb","values":{}}`:                             "user",
		`{"type":"fact","fact":"` + strings.Repeat("x", 511) + `","key":"k","values":{}}`: "user",
		`{"type":"fact","fact":"w","key":"k"}`:                                            "fields",
		`{"type":"fact","fact":"w","key":"k","values":null}`:                              "fields",
		`{"type":"fact","fact":"w","key":"k","values":[1]}`:                               "fields",
		`{"type":"fact","fact":"w","key":"k","values":{},"properties":7}`:                 "fields",
		`{"type":"system","userId":"u","messageId":"m"}`:                                  "name",
		`{"type":"system","event":"","userId":"u","messageId":"m"}`:                       "name",
		`{"type":"system","event":7,"userId":"u","messageId":"m"}`:                        "name",
		`{"type":"system","event":"Offer Shown","messageId":"m"}`:                         "identity",
	} {
		_, err := new(Decoder).Decode([]byte(raw))
		if rej, ok := err.(*Reject); !ok || rej.Reason != reason || rej.Detail == "" {
			t.Errorf("%.80s: %v, want reason %s", raw, err, reason)
		}
	}
}

// TestNoProof: the stamp is the first member proof, however it is written.
func TestNoProof(t *testing.T) {
	for members, want := range map[string]bool{
		``:                                  false,
		`"proof":"none",`:                   true,
		`"proof":"none","proof":"x",`:       true,
		`"proof":"x","proof":"none",`:       false,
		`"pr\u006fof":"none",`:              true,
		`"proof":"n\u006fne",`:              true,
		`"proof":"none ",`:                  false,
		`"proof":null,"pro\u006ff":"none",`: false,
		`"proof":["none"],`:                 false,
	} {
		if ev := read(t, `{`+members+`"type":"page","userId":"u","messageId":"m"}`); ev.NoProof != want {
			t.Errorf("%s: %v", members, ev.NoProof)
		}
	}
}
