package survey

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode"

	"offerstream/pipeline/campaign"
)

// nearest is the name among known that was probably meant, "" if none is similar:
// one that differs in case and separators only (productId, product_id), else one
// that is spelt almost alike. Of several, the most frequent.
func nearest(name string, known map[string]uint64) string {
	of := plain(name)
	best := ""
	names := slices.SortedFunc(maps.Keys(known), func(a, b string) int {
		return cmp.Or(-cmp.Compare(known[a], known[b]), strings.Compare(a, b))
	})
	for _, k := range names {
		if k != name && of != "" && plain(k) == of {
			return k
		}
	}
	best = campaign.Nearest(name, names)
	if best == name || len(name) < 5 && !alike(name, best) || digits(name) != digits(best) {
		return ""
	}
	return best
}

// digits are those of a name: ids that differ in them are no misspellings.
func digits(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return r
		}
		return -1
	}, name)
}

// alike reports whether two short names begin alike: others are different words.
func alike(a, b string) bool {
	return a != "" && b != "" && strings.EqualFold(a[:1], b[:1])
}

// plain is a name in small letters, without what separates words.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// nearestValue is nearest for texts. A text that is one of the parts of another,
// as smartphone is of electronics.smartphone, is similar to it, too.
func nearestValue(text string, known map[string]uint64) string {
	if best := nearest(text, known); best != "" {
		return best
	}
	best, of := "", plain(text)
	for _, k := range slices.Sorted(maps.Keys(known)) {
		parts := strings.FieldsFunc(k, func(r rune) bool { return strings.ContainsRune("./>|:", r) })
		if of != "" && len(parts) > 1 && slices.ContainsFunc(parts, func(p string) bool { return plain(p) == of }) && known[k] > known[best] {
			best = k
		}
	}
	return best
}
