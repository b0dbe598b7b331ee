package main

import (
	"context"

	"offerstream/config"
)

// schema is `offerctl schema`.
func schema(_ context.Context, args []string, std stdio) error {
	fs := newFlags(std, "schema", `
Prints the JSON Schema of campaign files, with which an editor completes keys,
shows what they mean and marks mistakes. Editors with the YAML language server take
it from a first line "# yaml-language-server: $schema=campaigns.schema.json" in a
campaign file; offerctl new writes both.

A schema knows keys and the forms of values. What is inside of an expression is
beyond it: the names of features in "if", properties, types. For these run offerctl
check; with --json it gives editors a place and a message for each mistake.`,
		"offerctl schema > campaigns.schema.json")
	if err := fs.none(args); err != nil {
		return err
	}
	_, err := std.out.Write(config.Schema())
	return err
}
