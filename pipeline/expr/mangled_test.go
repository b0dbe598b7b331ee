package expr

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
)

// TestMangled: whatever is wrong with an expression, something is said of it, in words,
// and at a place that it has.
func TestMangled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	l := strict(t)
	from := []string{
		`bag_views >= 4 && dwell >= duration("60s")`, `views["bag"] > 3 || event.properties.category in ["bag", "hat"]`, `cart.exists(i, i.price > 10000 && i.name == "x")`, `stay[event.properties.category] >= duration("1m")`,
		`local.weekday in ["sat", "sun"] && local.hour < 21`, `facts.weather["seoul"].dust > 80.5`, `!has(event.properties.x) || event.properties.?x.orValue(0) > 3`, `now.getHours("Asia/Seoul") == 9 ? true : false`, `before.one + 1 < 4`, `cart.max_by(i, i.price).name == 'x'`,
	}
	pieces := []string{"=", "==", "&", "|", "and ", " or ", "not ", "(", ")", "[", "]", "{", "}", "{{", `"`, "'", "“", "’", "\u00a0", "\u200b", "：", "，", "–", "≥", "10,000", "10 000", "60s", "10원", "%", "$", "₩3", "상품", "-", ".", "..", ",", ";", "x", " in ", " is null", "=>", "->", "~", "^", "`", "\n", "\\", "?", "if ", "null", "1", "\t", "é"}
	for range 3000 {
		src := []rune(from[r.IntN(len(from))])
		for range 1 + r.IntN(3) {
			at := r.IntN(len(src) + 1)
			switch r.IntN(3) {
			case 0:
				src = append(src[:at:at], src[min(len(src), at+1+r.IntN(4)):]...)
			default:
				src = append(append(append([]rune{}, src[:at]...), []rune(pieces[r.IntN(len(pieces))])...), src[at:]...)
			}
		}
		text := string(src)
		lines := strings.Split(text, "\n")
		said := 0
		x := l.Compile(text, cel.BoolType, func(line, col int, what, hint string) {
			said++
			if line < 1 || line > len(lines) || col < 0 || col > len([]rune(lines[line-1])) {
				t.Fatalf("seed %d: %q: the place %d:%d is not there: %s", seed, text, line, col, what)
			}
			if what == "" || strings.Contains(what, "%!") || strings.Contains(hint, "%!") || strings.Contains(what, "Syntax error") {
				t.Fatalf("seed %d: %q: %s: %s", seed, text, what, hint)
			}
		})
		if x == nil && said == 0 {
			t.Fatalf("seed %d: nothing is said of %q", seed, text)
		}
	}
}
