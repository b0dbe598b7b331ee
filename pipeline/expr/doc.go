// Package expr is the language of campaigns: CEL, type-checked and bounded in
// cost.
//
//	env        the library of CEL, with arithmetic that mixes ints and doubles
//	           (env.go, arithmetic.go), functions that keep integers of JSON
//	           exact (number.go), to which expressions are rewritten (exact.go),
//	           the greatest and least of a list (extreme.go), and time zones
//	           that are not the host's (time.go)
//	scope      what an expression sees when it is evaluated (scope.go)
//	language   what expressions in one kind of place may use, and their
//	           compilation (language.go): what must not run (forbidden.go) or
//	           always fails (constant.go), names that nothing has (hint.go) or
//	           that CEL cannot read (name.go), and other mistakes, in the words
//	           of LANGUAGE.md: what CEL cannot parse (unparsed.go) or does not
//	           take (mistake.go, instead.go), words of other languages
//	           (foreign.go)
//	authors    what runs but cannot be meant, for authors only: what is known of
//	           values beyond their types (shape.go), and what cannot hold for
//	           them (never.go); dwells that no campaign waits for (stay.go,
//	           stayform.go); expressions of other systems in texts
//	           (placeholder.go)
//	expr       a compiled expression (expr.go); common forms run without CEL
//	           (shortcut.go); some forms are recognised by others (form.go),
//	           and so is what it reads (reads.go); the maps that it makes have
//	           a fixed order (order.go)
//	template   text and JSON that contain expressions (template.go)
package expr
