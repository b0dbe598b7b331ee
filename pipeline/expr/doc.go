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
//	           always fails (constant.go), and what runs and cannot be meant
//	           (unmeant.go, by the shapes of values, shape.go; stay.go,
//	           stayform.go)
//	mistake    mistakes in the words of LANGUAGE.md (mistake.go): what CEL cannot
//	           read (unparsed.go, name.go), names that nothing has (hint.go) or
//	           that other languages use (foreign.go, placeholder.go), what to
//	           write in place of a value (instead.go)
//	expr       a compiled expression (expr.go); common forms run without CEL
//	           (shortcut.go); some forms are recognised by others (form.go),
//	           and so is what it reads (reads.go; inspect.go for traces); the
//	           maps that it makes have a fixed order (order.go)
//	clause     an expression as it is written, without types (clause.go): parts
//	           that can never hold (never.go), by the values for which
//	           comparisons do (bounds.go); what it reads and compares, with
//	           places (compared.go)
//	template   text and JSON that contain expressions (template.go)
package expr
