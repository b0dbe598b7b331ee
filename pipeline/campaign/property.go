package campaign

import (
	"fmt"
	"slices"

	"offerstream/pipeline/lazyregexp"
)

// PropertyName reports whether a text is the bare name of a property, as in `by`,
// `match` and `key`: words with single spaces between them, of ASCII letters and
// digits, _ $ @ # : - and any characters beyond ASCII; no word begins with : or -.
// No CEL expression about an event is such a text, because it needs a dot, a
// bracket or a quote.
func PropertyName(s string) bool { return propertyName.MatchString(s) }

var propertyName = func() *lazyregexp.Regexp {
	const first = `[A-Za-z0-9_$@#\x{80}-\x{10FFFF}]`
	const word = first + `[A-Za-z0-9_$@#:\x{80}-\x{10FFFF}-]*`
	return lazyregexp.New(`^` + word + `( ` + word + `)*$`)
}()

var (
	celIdentifier = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)
	celLiterals   = []string{"in", "true", "false", "null"}
)

// Member is how an expression writes a member of an object.
func Member(object, name string) string {
	if celIdentifier.MatchString(name) && !slices.Contains(celLiterals, name) {
		return object + "." + name
	}
	return fmt.Sprintf("%s[%q]", object, name)
}
