package event

import "offerstream/pipeline/value"

// skip.go steps over JSON without parsing it. What it steps over is valid JSON.

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the offset of the end of the string that begins at i, -1
// if there is no string.
func skipString(b []byte, i int) int {
	end, _ := skipText(b, i)
	return end
}

// skipText is skipString, and reports whether the string has no escapes.
func skipText(b []byte, i int) (end int, plain bool) {
	if i >= len(b) || b[i] != '"' {
		return -1, false
	}
	plain = true
	for i++; ; {
		i = value.Ordinary(b, i)
		if i == len(b) || b[i] < ' ' {
			return -1, false
		}
		if b[i] == '"' {
			return i + 1, plain
		}
		plain = false
		if i = skipEscape(b, i); i < 0 {
			return -1, false
		}
	}
}

// skipEscape returns the offset of the end of the escape that begins at i, -1 if it
// is none.
func skipEscape(b []byte, i int) int {
	if i+1 == len(b) {
		return -1
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		for end := i + 2; end < len(b) && isHex(b[end]); end++ {
			if end == i+5 {
				return i + 6
			}
		}
	}
	return -1
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// deepest is the deepest nesting of values that skip reads.
const deepest = 32

// skip returns the offset of the end of the value that begins at i, -1 if the
// value is not plain.
func skip(b []byte, i, depth int) int {
	if i >= len(b) || depth > deepest {
		return -1
	}
	switch c := b[i]; c {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipInside(b, i, depth)
	case 't':
		return literally(b, i, "true")
	case 'f':
		return literally(b, i, "false")
	case 'n':
		return literally(b, i, "null")
	}
	return skipNumber(b, i)
}

// skipNumber returns the offset of the end of the number that begins at i, -1 if
// there is none.
func skipNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	end := digits(b, i)
	if end == i || b[i] == '0' && end > i+1 {
		return -1
	}
	if i = end; i < len(b) && b[i] == '.' {
		if end = digits(b, i+1); end == i+1 {
			return -1
		}
		i = end
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if end = digits(b, i); end == i {
			return -1
		}
		i = end
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// literally returns the offset of the end of the word that begins at i, -1 if
// another word begins there.
func literally(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// skipInside is skip for an object or a list.
func skipInside(b []byte, i, depth int) int {
	object, closing := b[i] == '{', b[i]+2
	i = space(b, i+1)
	if i < len(b) && b[i] == closing {
		return i + 1
	}
	for {
		if object {
			if i = skipString(b, i); i < 0 {
				return -1
			}
			if i = space(b, i); i == len(b) || b[i] != ':' {
				return -1
			}
			i = space(b, i+1)
		}
		if i = skip(b, i, depth+1); i < 0 {
			return -1
		}
		i = space(b, i)
		switch {
		case i == len(b):
			return -1
		case b[i] == ',':
			i = space(b, i+1)
		case b[i] == closing:
			return i + 1
		default:
			return -1
		}
	}
}
