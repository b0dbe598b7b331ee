package expr

import (
	"encoding/json"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
)

// says is what check says of a condition.
func says(l *Language, src string) string {
	var found []string
	l.Compile(src, cel.BoolType, problems(&found))
	return strings.Join(found, "; ")
}

// TestUnread: what is said of what CEL cannot read.
func TestUnread(t *testing.T) {
	l := strict(t)
	const no = " is no operator: write "
	for src, want := range map[string]string{
		"n => 4 && n": "1:2: =>" + no + ">=", "n += 1": "1:2: += is no operator: an expression changes nothing", "event.name =~ \"x\"": `1:11: =~` + no + `x.matches("...")`, "n ** 2 > 4": "1:3: **" + no + "x * x", "n > 10 USD": `1:7: "USD" does not belong after a number: remove it`, "cart.exists(i => i.price > 3)": "1:14: there are no arrows: write exists(i, i.x == 1): the name, a comma, and what is asked of it", "event..name == \"x\"": "1:6: a dot stands between two names: remove one; x[0] and x[\"y\"] have none before the bracket", "n >= 1 && <= 5": "1:10: <= has no left side: each comparison has both sides: x >= a && x <= b", "n in 1..5": "1:7: a range is no value: write x >= 9 && x <= 21", "has(event)": "1:4: has() asks whether a field is there: such as has(event.properties.price); a feature and profile are always there",
		"n = 4": "1:2: = compares nothing: write ==", "n > 1 && (n = 4 || n > 9)": "1:12: = compares nothing: write ==", "n => 4": "1:2: =>" + no + ">=", "n =< 4": "1:2: =<" + no + "<=", "n === 4": "1:2: ===" + no + "==", "n <> 4": "1:2: <>" + no + "!=", "n !== 4": "1:2: !==" + no + "!=", "n >== 4": "1:2: >==" + no + ">=", "n ! = 4": "1:2: ! =" + no + "!=",
		"n > 1 & n < 4": "1:6: &" + no + "&&", "n > 1 and n < 4": `1:6: "and"` + no + "&&", "n > 1 OR n < 4": `1:6: "OR"` + no + "||", "not n > 4": `1:4: "not"` + no + "!", "not (n > 4)": `1:0: "not"` + no + "!", "n > 1 && NOT(n > 4)": `1:9: "NOT"` + no + "!", `"a" not in ["a"]`: `1:4: "not in"` + no + "!(x in list)", "n is 4": `1:2: "is"` + no + "==", "n is not 4": `1:2: "is not"` + no + "!=",
		"event.properties.x is null": `1:19: "is null"` + no + "!has(x)", "event.properties.x IS NOT NULL": `1:19: "IS NOT NULL"` + no + "has(x)", "event.properties.x exists": `1:19: "exists"` + no + "has(x)", `event.name like "a%"`: `1:11: "like"` + no + `x.contains("..."), x.startsWith("...") or x.matches("...")`, "n between 1 and 4": `1:2: "between"` + no + "x >= 1 && x <= 5", "if n > 4": "1:0: a condition here has no `if` before it: write the condition alone; c ? a : b chooses one of two values", "n > 4 then": `1:6: "then" is no operator: a condition stands alone; c ? a : b chooses one of two values`,
		"n > 10,000": "1:6: a number has no comma between its digits: write 10000", "n > 1,000,000": "1:5: a number has no comma between its digits: write 1000000", "n > 10 000": "1:7: a number has no space between its digits: write 10000", "n > 10_000": "1:6: a number has no _ between its digits: write 10000", "n > $10": `1:4: "$10" is no number: write 10`, "n > ₩10,000": `1:4: "₩10,000" is no number: write 10000`, "n > 10원": `1:4: "10원" is no number: write 10`, "n > 10%": `1:4: "10%" is no value: % is the remainder of a division; write 10, or 10 / 100.0`, "n > 10k": `1:6: "10k" is no value: a number is 10, a text is in quotes`,
		"dwell >= 60s": `1:11: "60s" is no value: a duration is duration("60s")`, "dwell >= 2w": `1:10: "2w" is no value: a duration is duration("14d")`, "dwell >= 10분": `1:9: "10분" is no value: a duration is duration("10m")`,
		"n > 4;": "1:5: ; ends nothing here: remove it; && joins conditions", "n > 4, n < 9": "1:5: a comma does not belong here: && joins conditions; a list is in [ ]", "(n > 4": "1:0: ( is not closed: ) is missing", "n in [1, 2": "1:5: [ is not closed: ] is missing", "n > 4)": "1:5: ) closes nothing: remove it, or open it before", `event.name == "x`: "1:14: the quote is not closed: close it with the same quote", "n >": "1:3: the expression ends too early: something is missing at its end", "n > 4 && && n < 9": "1:9: two operators follow each other: remove one",
		"event.name == “bag”": `1:14: “ (U+201C, left double quotation mark) means nothing here: write "`, "event.name == 'bag’": `1:18: ’ (U+2019, right single quotation mark) means nothing here: write "`, "n\u00a0> 4": "1:1: a character here is no ordinary space, but U+00A0, no-break space: write a space", "n > 1 &&\nbag\u200b_views > 4": "2:3: an invisible character is here, U+200B, zero-width space: remove it", "n ≥ 4": "1:2: ≥ (U+2265, greater-than or equal to) means nothing here: write >=", "n – 1 > 4": "1:2: – (U+2013, en dash) means nothing here: write -", "views［\"bag\"］ > 2": "1:5: ［ (U+FF3B, full-width [) means nothing here: write [", "math.least（n， 3） > 2": "1:10: （ (U+FF08, full-width () means nothing here: write (",
		`event.name == "“bag”"`: "", `event.properties.상품 == "x"`: `1:17: "상품" is no identifier: write event.properties["상품"]`, "event.properties.product id == 1": `1:17: "product id" is no identifier: write event.properties["product id"]`, `$n > 1`: `1:0: "$n" is no identifier: write n`,
	} {
		if got := says(l, src); got != want {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
}

// TestUnknownNames: what is said of names that nothing has.
func TestUnknownNames(t *testing.T) {
	l := strict(t)
	const no = "1:0: nothing here is named "
	for src, want := range map[string]string{
		"bag-views >= 4": no + `"bag": did you mean "bag_views"? - is minus`, "bag - views >= 4": no + `"bag": did you mean "bag_views"? - is minus`, "bag.views >= 4": no + `"bag": did you mean "bag_views"?`, "bag views >= 4": no + `"bag views": did you mean "bag_views"?`,
		`event.name == bag`: `1:14: nothing here is named "bag": a text is in quotes: "bag"; a property is event.properties.bag`, "event.name in [bag, hat]": `1:15: nothing here is named "bag": a text is in quotes: "bag"; a property is event.properties.bag; 1:20: nothing here is named "hat": a text is in quotes: "hat"; a property is event.properties.hat`,
		"sum(cart.price) > 3": `1:3: there is no function "sum": write a feature with agg: sum`, "cart.any(i, i.price > 3)": `1:8: there is no function "any": write list.exists(i, i.x == 1)`, "event.name.toLowerCase() == \"x\"": `1:22: there is no function "toLowerCase": write x.lowerAscii()`, "len(cart) > 1": `1:3: there is no function "len": write x.size()`, "cart-size() > 1": "1:9: size() lacks what it is about: write cart.size(); - is minus",
		"cart.max_by(price).name == \"x\"": "1:5: max_by lacks the name of the element: write max_by(i, ...), where i is the element, such as i.price",
	} {
		if got := says(l, src); got != want {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
	for src, want := range map[string]string{"views(\"bag\") > 3": `1:5: there is no function "views": views is a feature: write views[event.properties.category]`, "views.size > 3": `1:5: views.size is what views has under the key "size": views.size() is the number of its keys; for that key write views["size"]`, "views[bag] > 3": `1:6: nothing here is named "bag": a text is in quotes: "bag"; a property is event.properties.bag`} {
		if got := says(l, src); got != want {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
	for name, want := range map[string]string{"nil": "write null", "True": "write true", "weekday": "write local.weekday", "userId": "write event.user", "color": ""} {
		if got := ForeignWord(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestInstead: what to write in place of values that an operator does not take.
func TestInstead(t *testing.T) {
	l := strict(t)
	for src, want := range map[string]string{
		"dwell >= 60": `write dwell >= duration("60s")`, "60 <= dwell": `write duration("60s") <= dwell`, "dwell > 60": `write dwell >= duration("60s")`, "dwell == 60": `write dwell >= duration("60s")`, "dwell < 5": `write dwell < duration("5s")`, "dwell >= 60.5": `write dwell >= duration("60.5s")`, `dwell >= "60s"`: `write dwell >= duration("60s")`, `dwell >= "1 minute"`: `write dwell >= duration("1m")`, "dwell >= duration(60)": `write duration("60s"), with a unit`,
		`stay["bag"] >= 60`: `write stay["bag"] >= duration("60s")`, "stay >= 60": `write stay[event.properties.category] >= duration("60s")`, `stay >= duration("60s")`: `write stay[event.properties.category] >= duration("60s")`, `dwell["bag"] >= duration("60s")`: "dwell has no `by`, so write dwell without [ ]",
		"views >= 4": "write views[event.properties.category] >= 4", "4 <= views": "write 4 <= views[event.properties.category]", "views > 4.5": "write views[event.properties.category] > 4.5", "views + 1 > 4": "write views[event.properties.category] + 1", "views": "write views[event.properties.category] > 0", "lists > 3": "write lists[event.properties.category].size() > 3",
		"cart >= 1": "write cart.size() >= 1", "n > 1 && 1 < cart": "write 1 < cart.size()", "cart == n": "write cart.size() == n", "cart": "write cart.size() > 0", `cart == "x"`: `write cart.exists(i, i.name == "x")`, `"x" in cart`: `write cart.exists(i, i.name == "x")`, "lists[\"a\"] > 3": `write lists["a"].size() > 3`,
		`n > "3"`: "write 3, without quotes", `n > "x"`: "only texts are in quotes; string(x) makes a text of a number", "n": "write n > 0", "dwell": `write dwell >= duration("60s")`, "event.name": `write event.name == "..."`, "n && true": "write n > 0", `event.name || "x"`: `write event.name == "..."`, `event.name == ("a" || "b")`: `write x in ["a", "b"]`, "3 < n < 5": "each comparison stands alone: a < b && b < c", `event.name.contains("x") == "true"`: "a bool is true or false, without quotes; a condition needs no comparison with it",
	} {
		if got := says(l, src); !strings.HasSuffix(got, ": "+want) || strings.Contains(got, "; 1:") {
			t.Errorf("%s\n got %s\nwant ... %s", src, got, want)
		}
		write, ok := strings.CutPrefix(want, "write ")
		if !ok || strings.Contains(want, "+ 1") || strings.Contains(want, "x in") || strings.Contains(want, "without") || strings.Contains(want, "with a unit") {
			continue
		}
		if got := says(l, write); got != "" {
			t.Errorf("what is to be written for %s does not compile: %s", src, got)
		}
	}
}

// TestNever: what cannot hold for the values that there are.
func TestNever(t *testing.T) {
	l := strict(t)
	const entry = "an entry of cart has no field "
	for src, want := range map[string]string{
		"cart.filter(i, i.prise > 3).size() > 0": `1:16: ` + entry + `"prise": did you mean "price"?`, "cart[0].nam == \"x\"": `1:7: ` + entry + `"nam": did you mean "name"?`, `cart.exists(i, i["colour"] == 1)`: `1:16: ` + entry + `"colour": known are name, price`, "cart.max_by(i, i.prise).price > 1": `1:16: ` + entry + `"prise": did you mean "price"?`, "cart.max_by(i, i.price).prise > 1": `1:23: ` + entry + `"prise": did you mean "price"?`,
		"cart.filter(i, i.price > 3).sortBy(i, i.price).last().value().prise > 1": `1:61: ` + entry + `"prise": did you mean "price"?`, "cart.exists(i, has(i.prise))": `1:18: ` + entry + `"prise": did you mean "price"?`, "cart.exists(i, i.?prise.orValue(0) > 1)": `1:16: ` + entry + `"prise": did you mean "price"?`, `lists["a"].all(i, i.prise > 1)`: `1:19: ` + entry + `"prise": did you mean "price"?`, "cel.bind(c, cart + cart, c[1].prise > 1)": `1:29: ` + entry + `"prise": did you mean "price"?`, "cart.first().?prise.orValue(1) > 1": `1:12: ` + entry + `"prise": did you mean "price"?`, "cart.map(i, [i])[0].exists(i, i.prise > 1)": `1:31: ` + entry + `"prise": did you mean "price"?`,
		"cart.exists(i, i.price > 3 && i.name == \"x\")": "", "event.items.exists(i, i.anything == 1)": "", "(n > 1 ? cart : event.items).exists(i, i.anything == 1)": "", "[{\"a\": n}].exists(i, i.b == 1)": "", "cart.exists(i, i == {\"name\": 1})": "",
		`facts.weather["a"].sky > 3`: `1:23: this never holds: facts.weather["a"].sky is a text and 3 is an int: a text is in quotes: "3"`, `facts.weather["a"].dust == "3"`: `1:24: this never holds: facts.weather["a"].dust is a number and "3" is a text: write 3, without quotes`, `facts.weather["a"].dust != "x"`: `1:24: this always holds: facts.weather["a"].dust is a number and "x" is a text: only texts are in quotes; string(x) makes a text of a number`, `facts.weather["a"].sky + 1 > 3`: "1:23: + does not take a text and an int: only texts are in quotes; string(x) makes a text of a number", `facts.weather["a"].dust`: `1:18: facts.weather["a"].dust is a number where a bool is wanted: compare it with something`, `n > 1 && facts.weather["a"].sky`: `1:27: facts.weather["a"].sky is a text where a bool is wanted: compare it with something`, `facts.weather["a"].dust.startsWith("x")`: `1:34: startsWith() does not apply to a number, as facts.weather["a"].dust is: string(x) makes a text of a number`, `facts.weather["a"].sky in ["x", 3]`: `1:32: this never holds: facts.weather["a"].sky is a text and 3 is an int: a text is in quotes: "3"`, `cel.bind(w, facts.weather["a"], w.dsut > 3)`: `1:33: facts.weather has no field "dsut": did you mean "dust"?`,
		`facts.weather["a"].sky == "rain" && facts.weather["a"].dust > 3`: "", `facts.weather["a"].dust == null`: "", `facts.weather["a"].dust.size() > 1`: `1:28: size() does not apply to a number, as facts.weather["a"].dust is: string(x) makes a text of a number`, `facts.weather["a"].sky.size() > 1`: "", `facts.weather["a"].?dust.orValue(0) > 3`: "", `facts.weather["a"].?sky.orValue("") > 3`: `1:36: this never holds: facts.weather["a"].?sky.orValue("") is a text and 3 is an int: a text is in quotes: "3"`,
		"row.text > 1": `1:9: this never holds: row.text is a text and 1 is an int: a text is in quotes: "1"`, "row.min > \"1\"": `1:8: this never holds: row.min is a number and "1" is a text: write 1, without quotes`, "row.on > 1": "1:7: this never holds: row.on is a bool and 1 is an int", "views[row.text] > row.min && row.on": "", "row.id > 1": "", "row.text + row.min > 1": "1:9: + does not take a text and a number: only texts are in quotes; string(x) makes a text of a number", "dwell >= row.min": "1:6: this never holds: dwell is a duration and row.min is a number: a duration is duration(\"60s\")",
		`local.weekday == "monday"`: `1:17: local.weekday is never "monday": did you mean "mon"? It is one of mon, tue, wed, thu, fri, sat, sun`, `"Sun" != local.weekday`: `1:0: local.weekday is never "Sun": did you mean "sun"? It is one of mon, tue, wed, thu, fri, sat, sun`, `local.weekday in ["mon", "weekend"]`: `1:25: local.weekday is never "weekend": one of mon, tue, wed, thu, fri, sat, sun`, `local.weekday >= "fri"`: `1:17: local.weekday is a text, which < and > compare by its letters: local.weekday in ["mon", "tue"]`, `local.weekday in ["sat", "sun"]`: "",
		"local.hour > 24": "1:13: this never holds: local.hour is from 0 to 23", "local.hour >= 24": "1:14: this never holds: local.hour is from 0 to 23", "25 == local.hour": "1:0: this never holds: local.hour is from 0 to 23", "local.hour < 0": "1:13: this never holds: local.hour is from 0 to 23", "local.hour <= 25": "1:14: this always holds: local.hour is from 0 to 23", "local.hour < 24 && local.hour >= 0 && local.hour <= 23": "", "local.hour in [9, 24]": "1:18: this never holds: local.hour is from 0 to 23", "now.getMonth() == 12": "1:18: this never holds: getMonth() is from 0 to 11, 0 is January", `now.getHours("Asia/Seoul") == 24`: "1:30: this never holds: getHours() is from 0 to 23", `duration("90m").getMinutes() == 90`: "",
	} {
		if got := says(l, src); got != want {
			t.Errorf("%s\n got %s\nwant %s", src, got, want)
		}
	}
}

// TestNotStrict: what only an author is told of compiles for a worker.
func TestNotStrict(t *testing.T) {
	l := language(t)
	for _, src := range []string{"local.hour > 24", `facts.weather["a"].sky > 3`, `local.weekday == "monday"`} {
		if got := says(l, src); got != "" {
			t.Errorf("%s: %s", src, got)
		}
	}
}

// TestPlaceholders: expressions of other systems in the texts of an offer.
func TestPlaceholders(t *testing.T) {
	l := strict(t)
	for text, want := range map[string]string{
		"Hi ${event.name}": "1:3: write {{ event.name }}", "Hi {event.name}!": "1:3: write {{ event.name }}", "{event.name": "", "a\n%event.name%": "2:0: write {{ event.name }}", "<%= event.name %>": "1:0: write {{ event.name }}", "#{event.name}": "1:0: write {{ event.name }}", "$(event.name)": "1:0: write {{ event.name }}", "[event.name]": "1:0: write {{ event.name }}", "<event.name>": "1:0: write {{ event.name }}", "{ { event.name } }": "1:2: write {{ event.name }}", "{cart.size()} items": "1:0: write {{ cart.size() }}", "${n}": "1:0: write {{ n }}",
		"${name}": "warning 1:0: an expression is written {{ }}, such as {{ profile.name }}", "%name%": "warning 1:0: an expression is written {{ }}, such as {{ profile.name }}", "{n}": "warning 1:0: write {{ n }}", "{% if x %}a": `warning 1:0: a condition is written {{ c ? "a" : "b" }}`, "{{ event.name }} ${event.name}": "1:17: write {{ event.name }}",
		"{{ '${event.name}' }}": "", `{"a": {"b": 1}}`: "", "{a} [b] <b> 20% off, 30% off": "", "[광고] 안녕": "", "https://x.example/?q=%EC%9D%B4%EB%A6%84": "", "$100 (today)": "", "[n]": "", "{1}": "", "[1]": "", "}}": "", "100%": "",
	} {
		var found []string
		said := func(prefix string) ReportIn {
			return func(_ []string, line, col int, what, hint string) {
				if !strings.HasSuffix(what, " would be sent as it is written") {
					t.Errorf("%q: %s", text, what)
				}
				problems(&found)(line, col, "", "")
				found[len(found)-1] = prefix + strings.TrimSuffix(found[len(found)-1], ": ") + ": " + hint
			}
		}
		l.Placeholders(quotedJSON(text), said(""), said("warning "))
		for i := range found {
			found[i] = strings.ReplaceAll(found[i], ": : ", ": ")
		}
		if got := strings.Join(found, "; "); got != want {
			t.Errorf("%q\n got %s\nwant %s", text, got, want)
		}
	}
	for text, want := range map[string]string{"{{}}": "1:2: no expression is here", "{{{ event.name }}}": "1:2: an expression is in two braces on each side", "{{#if x}}": `1:2: "#if x" is no expression`, "{{ else }}": `1:2: "else" is no expression`, "{{ {'a': 1} }}": ""} {
		var found []string
		l.Template(quotedJSON(text), func(_ []string, line, col int, what, _ string) { problems(&found)(line, col, what, "") })
		if got := strings.Join(found, "; "); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func quotedJSON(text string) []byte {
	b, _ := json.Marshal(text) // a text cannot fail
	return b
}
