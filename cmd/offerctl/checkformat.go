package main

import (
	"encoding/json"
	"io"
	"net/url"
	"path/filepath"

	"offerstream/config"
)

// json prints the report for editors and CI.
func (r *checkReport) json(w io.Writer) error {
	type problem struct {
		File     string `json:"file"`
		Line     int    `json:"line"`
		Col      int    `json:"col"`
		EndCol   int    `json:"end_col"`
		Severity string `json:"severity"`
		Rule     string `json:"rule"`
		Message  string `json:"message"`
		Hint     string `json:"hint,omitempty"`
	}
	all := make([]problem, len(r.Problems))
	for i, f := range r.Problems {
		all[i] = problem{f.File, f.Line, f.Col, f.EndCol, f.Level, f.Rule, f.What, f.Hint}
	}
	return encode(w, struct {
		OK       bool        `json:"ok"`
		Sets     []setReport `json:"sets"`
		Problems []problem   `json:"problems"`
	}{r.OK, r.Sets, all})
}

const sarifSchema = "https://json.schemastore.org/sarif-2.1.0.json"

// sarif prints the report as SARIF 2.1.0: one run, with all rules. Paths that are
// not absolute are relative to where the command ran.
func (r *checkReport) sarif(w io.Writer) error {
	type object = map[string]any
	index := map[string]int{}
	rules := []object{}
	for i, rule := range config.Rules() {
		index[rule.ID] = i
		rules = append(rules, object{"id": rule.ID, "shortDescription": object{"text": rule.About}, "defaultConfiguration": object{"level": rule.Level}})
	}
	results := []object{}
	for _, f := range r.Problems {
		text := f.What
		if f.Hint != "" {
			text += ": " + f.Hint
		}
		results = append(results, object{
			"ruleId": f.Rule, "ruleIndex": index[f.Rule], "level": f.Level, "message": object{"text": text},
			"locations": []object{{"physicalLocation": object{
				"artifactLocation": object{"uri": uri(f.File)},
				"region":           object{"startLine": f.Line, "startColumn": f.Col, "endColumn": max(f.EndCol, f.Col)},
			}}},
		})
	}
	return encode(w, object{"$schema": sarifSchema, "version": "2.1.0", "runs": []object{{
		"tool":       object{"driver": object{"name": "offerctl", "rules": rules}},
		"columnKind": "unicodeCodePoints",
		"results":    results,
	}}})
}

// uri is a path with forward slashes, as a reference relative to a base, or of a
// file if it is absolute.
func uri(path string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	if filepath.IsAbs(path) {
		u.Scheme = "file"
	}
	return u.String()
}

func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
