package main

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

// JUnit XML as CI systems read it: a suite for each file of scenarios, a case for
// each scenario. Times are in seconds.
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		junitCounts
		Suites []*junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name string `xml:"name,attr"`
		File string `xml:"file,attr"`
		junitCounts
		Cases []junitCase `xml:"testcase"`
	}
	junitCounts struct {
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Time     string `xml:"time,attr"`
		took     time.Duration
	}
	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		File    string       `xml:"file,attr"`
		Line    int          `xml:"line,attr"`
		Time    string       `xml:"time,attr"`
		Failure *junitWrong  `xml:"failure"`
		Error   *junitWrong  `xml:"error"`
		Skipped *junitReason `xml:"skipped"`
	}
	junitWrong struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	junitReason struct {
		Message string `xml:"message,attr"`
	}
)

// writeJUnit writes the results into the file that --junit names.
func (t *testPass) writeJUnit() error {
	if t.junit == "" {
		return nil
	}
	b, err := xml.MarshalIndent(t.suites(), "", "  ")
	if err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	f, err := beginFile(t.junit)
	if err != nil {
		return err
	}
	defer f.drop()
	if _, err := f.Write(append(append([]byte(xml.Header), b...), '\n')); err != nil {
		return err
	}
	return f.done()
}

// suites are the results of all files. A file with mistakes has one case, an error;
// the scenarios of other files, which then do not run, are skipped.
func (t *testPass) suites() *junitSuites {
	all := &junitSuites{Name: "offerctl test"}
	for _, r := range t.results {
		s := &junitSuite{Name: r.name, File: r.name}
		if len(r.mistakes) > 0 {
			first := r.mistakes[0]
			s.add(junitCase{Class: r.name, Name: "the file is right", File: first.File, Line: first.Line, Error: &junitWrong{"mistake", first.Error(), r.mistakes.Error()}}, 0)
		}
		for _, c := range r.cases {
			j := junitCase{Class: r.name, Name: c.Name, File: c.File, Line: c.Line}
			switch {
			case !c.ran:
				j.Skipped = &junitReason{"not run, because files have mistakes or a scenario could not run"}
			case c.differences != "":
				j.Failure = &junitWrong{"difference", firstDifference(c.differences), c.differences}
			}
			s.add(j, c.took)
		}
		if s.Tests > 0 {
			all.Suites = append(all.Suites, s)
			all.plus(s.junitCounts)
		}
	}
	return all
}

func (s *junitSuite) add(c junitCase, took time.Duration) {
	c.Time = junitTime(took)
	n := junitCounts{Tests: 1, took: took}
	switch {
	case c.Failure != nil:
		n.Failures = 1
	case c.Error != nil:
		n.Errors = 1
	case c.Skipped != nil:
		n.Skipped = 1
	}
	s.plus(n)
	s.Cases = append(s.Cases, c)
}

func (n *junitCounts) plus(m junitCounts) {
	n.Tests, n.Failures, n.Errors, n.Skipped = n.Tests+m.Tests, n.Failures+m.Failures, n.Errors+m.Errors, n.Skipped+m.Skipped
	n.took += m.took
	n.Time = junitTime(n.took)
}

func junitTime(d time.Duration) string { return fmt.Sprintf("%.6f", d.Seconds()) }

// firstDifference is the first difference in one line: CI systems show it in the
// list of failures.
func firstDifference(text string) string {
	var first string
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(line), " ")
		if first == "" {
			first = line
		}
		if strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "+ ") {
			return first + " " + line
		}
		if !strings.HasSuffix(first, ":") {
			break
		}
	}
	return first
}
