package main

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// A display writes text for people. Names and values of events come from outside: none
// of their characters may move the cursor, change colours, or turn around what stands
// beside them. Such characters are shown as in Go and JSON, \u001b.
type display struct {
	to   io.Writer
	rest []byte // the beginning of a character
	buf  []byte
}

func onDisplay(to io.Writer) *display { return &display{to: to} }

func (d *display) Write(text []byte) (int, error) {
	n := len(text)
	if len(d.rest) > 0 {
		text = append(d.rest, text...)
		d.rest = nil
	}
	d.buf = d.buf[:0]
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1 && !utf8.FullRune(text):
			d.rest = append(d.rest, text...)
			size = len(text)
		case harmless(r):
			d.buf = utf8.AppendRune(d.buf, r)
		case r > 0xFFFF:
			d.buf = fmt.Appendf(d.buf, `\U%08x`, r)
		default:
			d.buf = fmt.Appendf(d.buf, `\u%04x`, r)
		}
		text = text[size:]
	}
	if _, err := d.to.Write(d.buf); err != nil {
		return 0, err
	}
	return n, nil
}

// harmless reports whether a terminal only shows the character: those of emoji and of
// scripts that join letters are among them.
func harmless(r rune) bool {
	const joiner, nonJoiner = '\u200d', '\u200c'
	return r == '\n' || r == '\t' || r == joiner || r == nonJoiner || unicode.IsPrint(r) || unicode.Is(unicode.Zs, r)
}
