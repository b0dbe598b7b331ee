package campaign

import (
	"fmt"
	"strings"
)

// A Character is one that looks like another one, or like nothing, and that
// neither YAML nor CEL takes for it. Texts copied from a document or a chat have
// such characters, and so has what input methods of some languages write.
type Character struct {
	Rune  rune
	Name  string // of Unicode, in small letters
	Write string // what is meant; " ": a space, "": nothing
}

// Lookalike finds a Character; ok is false for any other rune.
func Lookalike(r rune) (c Character, ok bool) {
	if 0xFF01 <= r && r <= 0xFF5E {
		is := string(r - 0xFEE0)
		if r == '＂' || r == '＇' {
			is = `"`
		}
		return Character{r, "full-width " + is, is}, true
	}
	if 0x2000 <= r && r <= 0x200A {
		return Character{r, "a typographic space", " "}, true
	}
	c, ok = lookalikes[r]
	c.Rune = r
	return c, ok
}

var lookalikes = func() map[rune]Character {
	all := map[rune]Character{}
	for _, l := range []struct{ write, names string }{
		{`"`, "“ left double quotation mark,” right double quotation mark,„ double low-9 quotation mark,‟ double high-reversed-9 quotation mark,« left-pointing double angle quotation mark,» right-pointing double angle quotation mark,″ double prime,「 left corner bracket,」 right corner bracket,‘ left single quotation mark,’ right single quotation mark,‚ single low-9 quotation mark,‛ single high-reversed-9 quotation mark,′ prime,´ acute accent"},
		{"-", "‐ hyphen,‑ non-breaking hyphen,‒ figure dash,– en dash,— em dash,― horizontal bar,− minus sign"},
		{"*", "× multiplication sign,∗ asterisk operator"},
		{"/", "÷ division sign,∕ division slash"},
		{">=", "≥ greater-than or equal to,⩾ greater-than or slanted equal to"},
		{"<=", "≤ less-than or equal to,⩽ less-than or slanted equal to"},
		{"!=", "≠ not equal to"},
		{"&&", "∧ logical and"},
		{"||", "∨ logical or"},
		{"!", "¬ not sign"},
		{",", "、 ideographic comma"},
		{".", "。 ideographic full stop,… horizontal ellipsis"},
		{":", "∶ ratio,꞉ modifier letter colon"},
		{"[", "【 left black lenticular bracket"},
		{"]", "】 right black lenticular bracket"},
		{" ", "\u00a0 no-break space,\u202f narrow no-break space,\u205f medium mathematical space,\u3000 ideographic space,\u1680 ogham space mark,\u3164 hangul filler"},
		{"", "\u200b zero-width space,\u200c zero-width non-joiner,\u200d zero-width joiner,\u2060 word joiner,\ufeff zero-width no-break space,\u00ad soft hyphen,\u200e left-to-right mark,\u200f right-to-left mark"},
	} {
		for _, entry := range strings.Split(l.names, ",") {
			r := []rune(entry)
			all[r[0]] = Character{Name: string(r[2:]), Write: l.write}
		}
	}
	return all
}()

// Blank reports whether the character cannot be seen.
func (c Character) Blank() bool { return strings.TrimSpace(c.Write) == "" }

// Says names the character, and says what to write instead.
func (c Character) Says() (what, hint string) {
	what = fmt.Sprintf("%c (U+%04X, %s) means nothing here", c.Rune, c.Rune, c.Name)
	switch c.Write {
	case " ":
		return fmt.Sprintf("a character here is no ordinary space, but U+%04X, %s", c.Rune, c.Name), "write a space"
	case "":
		return fmt.Sprintf("an invisible character is here, U+%04X, %s", c.Rune, c.Name), "remove it"
	}
	return what, "write " + c.Write
}
