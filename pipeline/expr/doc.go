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
//	           always fails (constant.go)
//	mistake    mistakes in the words of LANGUAGE.md (mistake.go): what CEL cannot
//	           read (unparsed.go, name.go), names that nothing has (hint.go) or
//	           that other languages use (foreign.go, placeholder.go), what to
//	           write in place of a value (instead.go)
//	expr       a compiled expression (expr.go); common forms run without CEL
//	           (shortcut.go); some forms are recognised by others (form.go),
//	           and so is what it reads (reads.go); the maps that it makes have a
//	           fixed order (order.go)
//	template   text and JSON that contain expressions (template.go)
//
// Four parts look at an expression to say something about it. They share what
// conjuncts (language.go), literals (form.go) and comparisons (comparison.go) are, and
// differ in what they look for:
//
//	inspection for traces: the parts of a condition that can be evaluated by
//	           themselves (inspect.go)
//	unmeant    for errors of the compiler: what runs and cannot be meant, by the
//	           types and the shapes of values (unmeant.go, shape.go), and dwells
//	           that no campaign waits for (stay.go, stayform.go)
//	clause     for warnings about a valid set, as written, without types: conditions
//	           that can never hold together (clause.go, never.go), by the values for
//	           which comparisons hold (bounds.go)
//	use        for a sample of events, as written, without types: which paths are
//	           read, where, and what they are compared with (uses.go, compared.go)
package expr
