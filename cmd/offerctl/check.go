package main

import (
	"context"
	"errors"
	"fmt"

	"offerstream/config"
)

// check is `offerctl check`. As of a compiler, what is wrong goes to standard
// error.
func check(_ context.Context, args []string, std stdio) error {
	fs := newFlags(std, "check PATH...", `
Validates a campaign set: the files and the directories of files (*.yaml, *.yml,
but for the scenarios of *.test.yaml) that are named make up one set. Each mistake is a line file:line:col: what:
hint on standard error, and the exit status is 1.`,
		"offerctl check deploy/campaigns")
	paths, err := fs.parse(args)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return usagef("a campaign file, or a directory of them, is needed")
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

// count is n of something: 1 file, 2 files.
func count(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprintf("%d %s", n, of)
}
