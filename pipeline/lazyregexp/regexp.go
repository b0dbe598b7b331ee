// Package lazyregexp holds regular expressions that are compiled when they are first
// used. Most of those here are about mistakes, which are rare: a worker and a gateway
// need none of them, and would start later and hold more memory for all of them.
package lazyregexp

import (
	"regexp"
	"sync"
)

// A Regexp is a regular expression of package regexp, whose methods it has. It is
// safe for concurrent use.
type Regexp struct {
	text string
	once sync.Once
	re   *regexp.Regexp
}

// New makes a Regexp. A text that is none panics at the first use.
func New(text string) *Regexp { return &Regexp{text: text} }

func (p *Regexp) compiled() *regexp.Regexp {
	p.once.Do(func() { p.re = regexp.MustCompile(p.text) })
	return p.re
}

// The methods of regexp.Regexp.
func (p *Regexp) MatchString(s string) bool            { return p.compiled().MatchString(s) }
func (p *Regexp) Match(b []byte) bool                  { return p.compiled().Match(b) }
func (p *Regexp) FindString(s string) string           { return p.compiled().FindString(s) }
func (p *Regexp) FindStringIndex(s string) []int       { return p.compiled().FindStringIndex(s) }
func (p *Regexp) FindStringSubmatch(s string) []string { return p.compiled().FindStringSubmatch(s) }
func (p *Regexp) FindStringSubmatchIndex(s string) []int {
	return p.compiled().FindStringSubmatchIndex(s)
}
func (p *Regexp) FindAllString(s string, n int) []string { return p.compiled().FindAllString(s, n) }
func (p *Regexp) FindAllStringIndex(s string, n int) [][]int {
	return p.compiled().FindAllStringIndex(s, n)
}
func (p *Regexp) FindAllStringSubmatch(s string, n int) [][]string {
	return p.compiled().FindAllStringSubmatch(s, n)
}
func (p *Regexp) FindAllStringSubmatchIndex(s string, n int) [][]int {
	return p.compiled().FindAllStringSubmatchIndex(s, n)
}
func (p *Regexp) FindAllSubmatch(b []byte, n int) [][][]byte {
	return p.compiled().FindAllSubmatch(b, n)
}
func (p *Regexp) ReplaceAllString(s, with string) string {
	return p.compiled().ReplaceAllString(s, with)
}
func (p *Regexp) ReplaceAllStringFunc(s string, with func(string) string) string {
	return p.compiled().ReplaceAllStringFunc(s, with)
}
func (p *Regexp) String() string { return p.text }
