package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// read1 reads one file without the compiler: only what package config itself
// finds is wrong.
func read1(t *testing.T, text string) (*campaign.Definition, *load) {
	t.Helper()
	l := newLoad()
	l.compile = func(*campaign.Definition) (*pipeline.Set, []campaign.Problem) { return nil, nil }
	l.file(filepath.Join(t.TempDir(), "set.yaml"), []byte(text))
	d, err := l.finish()
	if err != nil {
		t.Fatal(err)
	}
	return d, l
}

const wholeLanguage = `
coupons: {key: k1, url: https://shop.example/c/}
facts: {weather: {fields: {sky: string, dust: number}, max_age: 3h}}
features:
  interest: {on: [Product Viewed, "*"], by: brand, agg: top, half_life: 7d}
  hours: {on: Order Completed, agg: histogram, within: 180d}
policies:
  quiet_hours: {channels: [sms, push], from: 20:50, to: "08:00", except_consent: night, at_most: 13h}
  consent: {sms: required, push: required, web: none, valid_for: 730d}
  brake: [{channel: sms, max: 9, within: 1d, per: campaign}, {channel: push, max: 1000000, within: 1s}, {channel: sms, max: 5000, within: 10m}]
  holdout: 0.5%
campaigns:
  any:
    for_each:
      rows:
        - {id: 7, z: <a>, yes: true, n: 1.50, big: 12345678901234567890, hex: 0x10, plus: +3, text: "1"}
    any:
      - {on: X}
      - {on: Y, where: event.name == "Y", unless: {on: Z, match: id, within: 1h, restart: false}}
    let: {b: 1 + 1, a: b + 1}
    at: {best_hour: hours, ahead: 24h}
    choose: interest.first()
    score: 3.0
    offer: {channel: push, coupon: {discount: 5%, single_use: true, claim: login, expires: 7d}}
    holdout: 10%
  sequence:
    sequence: {steps: [{on: [B, A], where: "true"}, {on: C}], within: 30m}
    unless: {on: D, within: 1h}
    offer: {channel: web}
  end:
    on: session_end
    offer: {channel: web}
`

// TestWholeLanguage: each construct is in the definition.
func TestWholeLanguage(t *testing.T) {
	d, l := read1(t, wholeLanguage)
	got := string(d.JSON())
	for _, want := range []string{
		`"coupons":{"key":"k1","url":"https://shop.example/c/"}`,
		`"facts":[{"name":"weather","fields":[{"name":"dust","type":"number"},{"name":"sky","type":"string"}],"max_age":10800000000000}]`,
		`{"name":"interest","on":["*","Product Viewed"],"by":"brand","agg":"top","half_life":604800000000000}`,
		`{"name":"hours","on":["Order Completed"],"agg":"histogram","within":15552000000000000}`,
		`"quiet_hours":{"channels":["push","sms"],"from":1250,"to":480,"except_consent":"night","at_most":46800000000000}`,
		`"consent":{"required":["push","sms"],"valid_for":63072000000000000}`,
		`"brakes":[{"channel":"push","max":1000000,"within":1000000000},{"channel":"sms","max":5000,"within":600000000000},{"channel":"sms","max":9,"within":86400000000000,"per_campaign":true}]`,
		`"holdout":50,`,
		`"rows":[{"id":"7","values":{"big":12345678901234567890,"hex":16,"id":"7","n":1.50,"plus":3,"text":"1","yes":true,"z":"\u003ca\u003e"}}]`,
		`"any":[{"on":["X"]},{"on":["Y"],"where":"event.name == \"Y\"","unless":{"on":["Z"],"match":"id","within":3600000000000,"no_restart":true}}]`,
		`"let":[{"name":"b","is":"1 + 1"},{"name":"a","is":"b + 1"}]`,
		`"at":{"best_hour":"hours","ahead":86400000000000},"choose":"interest.first()","score":"3.0"`,
		`"coupon":{"discount":"5%","single_use":true,"claim":"login","expires":604800000000000}`,
		`"holdout":1000}`,
		`"sequence":{"steps":[{"on":["A","B"],"where":"true"},{"on":["C"]}],"within":1800000000000},"unless":{"on":["D"],"within":3600000000000}`,
		`{"id":"end","on":["session_end"],`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the definition has no %s\n%s", want, got)
		}
	}
	if len(l.warnings) > 0 {
		t.Errorf("warnings: %v", l.warnings)
	}
	again, err := campaign.ParseDefinition(d.JSON())
	if err != nil || string(again.JSON()) != got {
		t.Errorf("changed by writing and reading: %v\n%s", err, again.JSON())
	}
}

// TestPlacesOfExpressions: a problem that the compiler reports at a path gets the
// place of the expression there.
func TestPlacesOfExpressions(t *testing.T) {
	const text = `campaigns:
  c:
    for_each: {rows: [{id: a}]}
    any:
      - {on: X}
      - {on: Y, where: P0, unless: {on: Z, where: P1, match: P2, within: P3 + P3, at_most: 1h}}
    let:
      one: P4
      two: >-
        P5
    if: [x, P6]
    to: P7
    at: {best_hour: P8, ahead: 1h}
    when_due: P9
    choose: P10
    score: "P11"
    offer: {channel: web, data: {a: [x, P12]}, expires: "P13", at_most: 1h}
    budget: {value: 3, of: P14}
  s:
    sequence: {steps: [{on: X, where: P15}, {on: Y, where: P16}], within: 1h}
    if: P17
    unless:
      on: X
      at_most: 1h
      within: |
        P18
    offer: {channel: web}
items: {P20: {key: P19}}
features: {f: {per: P20, on: X, agg: count}, P7: {per: P20, on: X, agg: users}}
`
	paths := [][]string{{"any", "1", "where"}, {"any", "1", "unless", "where"}, {"any", "1", "unless", "match"}, {"any", "1", "unless", "within"},
		{"let", "one"}, {"let", "two"}, {"if", "1"}, {"to"}, {"at", "best_hour"}, {"when_due"}, {"choose"}, {"score"}, {"offer", "data", "a", "1"}, {"offer", "expires"}, {"budget", "of"}}
	last := [][]string{{"sequence", "steps", "0", "where"}, {"sequence", "steps", "1", "where"}, {"if", "0"}, {"unless", "within"}}
	set := [][]string{{"items", "P20", "key"}, {"features", "f", "per"}}
	l := newLoad()
	l.compile = func(*campaign.Definition) (*pipeline.Set, []campaign.Problem) {
		var problems []campaign.Problem
		add := func(id string, path []string) {
			problems = append(problems, campaign.Problem{Path: append([]string{"campaigns", id}, path...), Line: 1, What: fmt.Sprintf("P%d", len(problems))})
		}
		for _, p := range paths {
			add("c", p)
		}
		for _, p := range last {
			add("s", p)
		}
		for _, p := range set {
			problems = append(problems, campaign.Problem{Path: p, What: fmt.Sprintf("P%d", len(problems))})
		}
		return nil, append(problems, campaign.Problem{Path: []string{"campaigns", "c", "for_each"}, What: "{rows"})
	}
	l.file("set.yaml", []byte(text))
	if _, err := l.finish(); err == nil {
		t.Fatal("no problems")
	}
	lines := strings.Split(text, "\n")
	if len(l.problems) != len(paths)+len(last)+len(set)+1 {
		t.Errorf("%v", l.problems)
	}
	for _, p := range l.problems {
		if at := lines[p.Line-1][p.Col-1:]; !strings.HasPrefix(at, p.What) {
			t.Errorf("%v\npoints at %s", p, at)
		}
	}
}

// TestTableFile reads rows from CSV files.
func TestTableFile(t *testing.T) {
	const set = "campaigns: {c: {for_each: {file: t.csv}, on: X, offer: {channel: web}}}\n"
	long := "id,n\n" + strings.Repeat("?,1\n", 40)
	for _, c := range []struct{ name, table, want string }{
		{"types", "\ufeffid,n,yes,mixed,text\r\n1,-0.50,true,1,\"a,\n\"\"b\"\"\"\r\n\r\n2,1e3,false,true,007\n",
			`[{"id":"1","values":{"id":"1","mixed":"1","n":-0.50,"text":"a,\n\"b\"","yes":true}},{"id":"2","values":{"id":"2","mixed":"true","n":1e3,"text":"007","yes":false}}]`},
		{"empty", "", "t.csv:1:1: the file is empty: the first line has the names of the columns: id,category"},
		{"header only", "id,n\n", "t.csv:1:1: the table has no rows"},
		{"no id", "n,m\n1,2\n", "t.csv:1:1: there is no column `id`: the first line has the names of the columns; these are n, m"},
		{"header", "id,é,é, n\n1,2,3,4\n", "t.csv:1:6: column 3 is called \"é\", as column 2 is: rename one\n" +
			"t.csv:1:8: \" n\" is not the name of a column: the first line has the names of the columns: letters, digits, _ and -, without spaces around them"},
		{"cells", "id,n\na,1,2\nb\nc,3\n", "t.csv:2:1: the line has 3 cells, the first line has 2: put a cell with a comma in quotes\nt.csv:3:1: the line has 1 cells, the first line has 2: put a cell with a comma in quotes"},
		{"ids", "n,id\né,a b\n2,\n3,x\n4,x\n", "t.csv:2:3: \"a b\" is not the id of a row: 1 to 64 letters, digits, -, _ and .\nt.csv:3:3: \"\" is not the id of a row: 1 to 64 letters, digits, -, _ and .\n" +
			"t.csv:5:3: the id \"x\" appears twice: it is already on line 4"},
		{"quotes", "id,n\na,5\" pipe\n", "t.csv:2:4: this is not CSV: bare \" in non-quoted-field: put a cell with a quote or a comma in quotes, and double the quotes in it: \"5\"\" pipe\""},
		{"not text", "id,n\na,\xff\n", "t.csv:2:1: this line is not UTF-8 text: save the file as UTF-8"},
		{"many", long, "there are 20 mistakes more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for name, text := range map[string]string{"set.yaml": set, "t.csv": c.table} {
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d, err := LoadCampaigns("set.yaml")
			got := fmt.Sprint(err)
			if err == nil {
				b, err := json.Marshal(d.Campaigns[0].Rows)
				if err != nil {
					t.Fatal(err)
				}
				got = string(b)
			}
			if got != c.want && (c.name != "many" || !strings.Contains(got, c.want)) {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
			fromFS, err := LoadCampaignsFS(os.DirFS("."))
			if (err == nil) != (d != nil) || err == nil && fromFS.Hash() != d.Hash() {
				t.Errorf("from a file system: %v", err)
			}
		})
	}
}

// TestTableBounds: a table that is too long is refused, not cut.
func TestTableBounds(t *testing.T) {
	var text strings.Builder
	text.WriteString("id\n")
	for i := range mostRows {
		fmt.Fprintln(&text, i)
	}
	if rows, _, problems := readTable("t.csv", []byte(text.String())); len(rows) != mostRows || problems != nil {
		t.Errorf("%d rows: %v", len(rows), problems)
	}
	fmt.Fprintln(&text, "more")
	if _, _, problems := readTable("t.csv", []byte(text.String())); len(problems) != 1 || problems[0].What != "there are more than 100,000 rows" {
		t.Errorf("%v", problems)
	}
	if _, _, err := openBeside("set.yaml", "/etc/passwd"); err == nil {
		t.Error("a path that is not local is opened")
	}
	dir := t.TempDir()
	big := filepath.Join(dir, "big.csv")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openBeside(filepath.Join(dir, "set.yaml"), "big.csv"); err == nil || !strings.Contains(err.Error(), "at most 16777216 are read") {
		t.Errorf("a file that is too large: %v", err)
	}
}

// TestShortHold: check warns of a hold that ends before the longest night.
func TestShortHold(t *testing.T) {
	for _, c := range []struct {
		hours string
		warns bool
	}{
		{`from: "20:50", to: "08:00", at_most: 12h`, true},
		{`from: "20:50", to: "08:00", at_most: 12h10m`, false},
		{`from: "20:50", to: "08:00"`, false},
		{`from: "01:00", to: "06:00", at_most: 359m`, true},
		{`from: "01:00", to: "06:00", at_most: 6h`, false},
	} {
		_, l := read1(t, "policies:\n  quiet_hours: {channels: [push], "+c.hours+"}\n")
		if got := len(l.warnings) > 0; got != c.warns {
			t.Errorf("%s: %v", c.hours, l.warnings)
		}
	}
}

// TestSuspect: check warns of keys that have no effect in their set.
func TestSuspect(t *testing.T) {
	const never, address, expires = "never waits", "coupon.url is the code alone", "coupon.expires fails"
	for text, want := range map[string]string{
		`{on: page, when_due: now > now, %s}`:                                                                                            never,
		`{on: page, when_due: now > now, unless: {on: X, within: 1h}, %s}`:                                                               "",
		`{any: [{on: page}, {on: X, unless: {on: Y, within: 1h}}], when_due: now > now, %s}`:                                             "",
		`{on: page, when_due: now > now, at: {best_hour: hours, ahead: 1h}, %s}`:                                                         "",
		`{on: page, when_due: now > now, if: stay >= duration("1m"), %s}`:                                                                "",
		`{on: page, when_due: now > now, offer: {channel: push}}`:                                                                        "",
		`{on: page, when_due: now > now, offer: {channel: push, kind: service}}`:                                                         never,
		`{on: page, offer: {channel: web, coupon: {discount: 5%}, data: {a: "{{ coupon.url }}"}}}`:                                       address,
		`{on: page, offer: {channel: web, coupon: {discount: 5%}, data: {a: "{{ coupon.code }}"}}}`:                                      "",
		`{on: page, offer: {channel: web, coupon: {discount: 5%}, data: {a: "{{ coupon.expires }}"}}}`:                                   expires,
		`{on: page, offer: {channel: web, coupon: {expires: 1d}, data: {a: "{{ coupon.expires }}"}}}`:                                    "",
		`{on: page, offer: {channel: web, expires: 1d, coupon: {discount: 5%}, data: {a: "{{ coupon.expires }}"}}}`:                      "",
		`{on: page, offer: {channel: web, expires: stay * 2.0, at_most: 1d, coupon: {discount: 5%}, data: {a: "{{ coupon.expires }}"}}}`: "",
		`{on: page, when_due: now > now, budget: {offers: 5}, %s}`:                                                                       "",
		`{on: page, when_due: now > now, offer: {channel: web, coupon: {pool: spring}}}`:                                                 "",
	} {
		text = strings.Replace(text, "%s", "offer: {channel: web}", 1)
		_, l := read1(t, `policies: {consent: none, quiet_hours: {channels: [push], from: "20:00", to: "08:00"}}
features: {hours: {on: page, agg: histogram}, stay: {on: page, agg: dwell}}
campaigns: {c: `+text+"}\n")
		got := ""
		if len(l.warnings) > 0 {
			got = l.warnings[0].What
		}
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s\n got %q, want %q", text, got, want)
		}
	}
}

// TestMoreNames: names that are defined twice in a set, in any of its files.
func TestMoreNames(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": "facts: {w: {fields: {x: bool}}}\npolicies: {consent: {push: required}, holdout: 1%}\ncoupons: {key: k1}\n",
		"b.yaml": "facts: {w: {fields: {x: bool}}}\npolicies: {consent: {push: none}, holdout: 2%}\ncoupons: {key: k2}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := LoadCampaigns(dir)
	want := fmt.Sprintf(`%[1]s/b.yaml:1:9: fact "w" is already defined at %[1]s/a.yaml:1:9: rename one
%[1]s/b.yaml:2:21: "consent" has another value at %[1]s/a.yaml:2:21: set it in one file
%[1]s/b.yaml:2:44: "holdout" has another value at %[1]s/a.yaml:2:48: set it in one file
%[1]s/b.yaml:3:10: "coupons" has another value at %[1]s/a.yaml:3:10: set it in one file`, dir)
	if fmt.Sprint(err) != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

// TestDescribeWhole: the changes of all parts of a set are told.
func TestDescribeWhole(t *testing.T) {
	old, _ := read1(t, wholeLanguage)
	new, _ := read1(t, `
facts: {weather: {fields: {sky: string}, max_age: 3h}, stores: {fields: {city: string}}}
features:
  interest: {on: [Product Viewed, "*"], by: brand, agg: top, half_life: 8d}
policies:
  quiet_hours: {channels: [push], from: 21:00, to: "08:00", then: drop}
  consent: {push: required}
campaigns:
  any:
    for_each: {rows: [{id: 7, z: b}, {id: 8}]}
    any: [{on: X}]
    let: {b: 1 + 1}
    at: {best_hour: hours, ahead: 25h}
    choose: interest.last()
    priority: 4
    offer: {channel: push, coupon: {discount: 6%}}
  sequence:
    sequence: {steps: [{on: A}, {on: C}], within: 30m}
    offer: {channel: web}`)
	got := strings.Join(Describe(old, new), "\n")
	want := `~ brake: [{channel: push, max: 1000000, within: 1s}, {channel: sms, max: 5000, within: 10m}, {channel: sms, max: 9, per: campaign, within: 1d}] -> none
~ consent: {push: required, sms: required, valid_for: 730d} -> {push: required}
~ coupons: {key: k1, url: https://shop.example/c/} -> none
~ holdout: 0.5% -> none
~ quiet_hours: {at_most: 13h, channels: [push, sms], except_consent: night, from: 20:50, then: hold, to: 08:00} -> {channels: [push], from: 21:00, then: drop, to: 08:00}
- feature hours
~ feature interest: half_life
+ fact stores
~ fact weather: fields
~ campaign any: any, at, choose, for_each (rows: 1 added, 0 removed, 1 changed), holdout, let, offer, priority, score
- campaign end
~ campaign sequence: sequence, unless`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestForms: what can be written in several forms is read as the same.
func TestForms(t *testing.T) {
	def := func(text string) string { return string(load1(t, text).JSON()) }
	const set = `
version: 1
policies: {consent: none, quiet_hours: {channels: [sms], from: "20:50", to: %s}}
campaigns:
  a: {sequence: {steps: %s, within: 1h}, offer: {channel: web, coupon: {discount: %s}}}
`
	want := def(fmt.Sprintf(set, `"08:00"`, "[{on: A}, {on: [B, C]}]", `"5000"`))
	if got := def(fmt.Sprintf(set, "8:00", "[A, {on: [B, C]}]", "5000")); got != want {
		t.Errorf("the set is\n%s\nwant\n%s", got, want)
	}
}
