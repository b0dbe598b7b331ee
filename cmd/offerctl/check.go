package main

import (
	"context"
	"errors"
	"fmt"

	"offerstream/config"
)

// check is `offerctl check`. Like a compiler, it prints mistakes to standard
// error.
func check(_ context.Context, args []string, std stdio) error {
	fs := newFlags(std, "check PATH...", `
Validates a campaign set. The named files, and the files *.yaml and *.yml in the
named directories (except scenarios, *.test.yaml), form one set. Each mistake is
a line "file:line:col: what is wrong: what to do" on standard error, and the exit
status is 1.`,
		"offerctl check deploy/campaigns")
	paths, err := fs.parse(args)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return usagef("no path: name a campaign file or a directory of them")
	}
	def, err := config.LoadCampaigns(paths...)
	var wrong config.Errors
	if errors.As(err, &wrong) {
		fmt.Fprintln(std.err, wrong)
		return errSilent
	}
	if err != nil {
		return err
	}
	files, err := config.CampaignFiles(paths...)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "ok: %s, %s in %s, set %s\n", count(len(def.Campaigns), "campaign"), count(len(def.Features), "feature"), count(len(files), "file"), def.Hash())
	return nil
}

// count returns a number with its noun: 1 file, 2 files.
func count(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}
