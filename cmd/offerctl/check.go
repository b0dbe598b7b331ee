package main

import (
	"context"
	"errors"
	"fmt"

	"offerstream/config"
)

// check is `offerctl check`. Like a compiler, it prints mistakes to standard
// error.
func check(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "check PATH...", `
Validates campaign sets. The named files form one set. In a named directory, its
files *.yaml and *.yml (except scenarios, *.test.yaml) form one, and so do those
of each directory below it. Each mistake is a line "file:line:col: what is wrong:
what to do" on standard error, and the exit status is 1. A line "file:line:col:
warning: ..." is about what is allowed, but probably not meant.`,
		"offerctl check deploy/campaigns")
	sample := fs.surveying(std)
	paths, err := fs.parse(args)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return usagef("no path: name a campaign file or a directory of them")
	}
	sets, err := config.FindSets(paths...)
	if err != nil {
		return err
	}
	if err := sample.wrong(len(sets)); err != nil {
		return err
	}
	failed := false
	for _, s := range sets {
		of := ""
		if len(sets) > 1 && s.Path != "" {
			of = s.Path + ": "
		}
		ok, err := checkSet(ctx, s, of, sample, std)
		if err != nil {
			return err
		}
		failed = failed || !ok
	}
	if failed {
		return errSilent
	}
	return nil
}

// checkSet checks one set. of begins the line that says what is in it.
func checkSet(ctx context.Context, s config.Folder, of string, sample *surveyor, std stdio) (ok bool, err error) {
	def, warnings, err := config.CheckCampaigns(s.Files...)
	for _, w := range warnings {
		w.What = "warning: " + w.What
		fmt.Fprintln(std.err, w)
	}
	var wrong config.Errors
	if errors.As(err, &wrong) {
		fmt.Fprintln(std.err, wrong)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	rows := 0
	for _, c := range def.Campaigns {
		rows += len(c.Rows)
	}
	campaigns := count(len(def.Campaigns), "campaign")
	if rows > 0 {
		campaigns += " with " + count(rows, "row")
	}
	features := count(len(def.Features), "feature")
	if n := tableRows(def); n > 0 {
		features += ", " + count(n, "row") + " of facts"
	}
	fmt.Fprintf(std.out, "ok: %s%s, %s in %s, set %s\n", of, campaigns, features, count(len(s.Files), "file"), def.Hash())
	if !sample.given() {
		return true, nil
	}
	result, found, err := sample.survey(ctx, def, s.Files)
	if err != nil {
		return false, err
	}
	for _, f := range found {
		f.What = "warning: " + f.What
		fmt.Fprintln(std.err, f.Problem)
	}
	result.Text(std.out)
	return true, nil
}

// count returns a number with its noun: 1 file, 2 files.
func count(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}
