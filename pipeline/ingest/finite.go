package ingest

import "bytes"

// notFinite are what Python and others write for numbers that JSON does not have.
var notFinite = [...][]byte{[]byte("NaN"), []byte("-Infinity"), []byte("Infinity")}

// finite returns the text with null in place of numbers that are not finite, which JSON
// does not have.
func (b *body) finite(text []byte) ([]byte, error) {
	if !bytes.Contains(text, notFinite[0]) && !bytes.Contains(text, notFinite[2]) {
		return text, nil
	}
	most := len(text) + len(text)/3 + 1 // a NaN is three bytes, and null is four
	if err := b.pay(most, false); err != nil {
		return nil, err
	}
	return appendFinite(make([]byte, 0, most), text), nil
}

func appendFinite(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		if text[i] == '"' {
			end, _ := scanString(text, i)
			if end < 0 {
				return append(dst, text[i:]...)
			}
			dst = append(dst, text[i:end]...)
			i = end
			continue
		}
		if n := lengthOfNotFinite(text[i:]); n > 0 && (i == 0 || !inScalar[text[i-1]]) && (i+n == len(text) || !inScalar[text[i+n]]) {
			dst = append(dst, "null"...)
			i += n
			continue
		}
		dst = append(dst, text[i])
		i++
	}
	return dst
}

func lengthOfNotFinite(text []byte) int {
	for _, n := range notFinite {
		if bytes.HasPrefix(text, n) {
			return len(n)
		}
	}
	return 0
}
