// Package expr is the language of campaigns: CEL, type-checked and bounded in
// cost.
//
//	env        the library of CEL, with arithmetic that mixes ints and doubles
//	           (env.go, arithmetic.go) and functions that keep integers of
//	           JSON exact (number.go), to which expressions are rewritten
//	           (exact.go)
//	scope      what an expression sees when it is evaluated (scope.go)
//	language   what expressions in one kind of place may use, and their
//	           compilation (language.go): what always fails (constant.go), names
//	           that CEL cannot read (name.go)
//	expr       a compiled expression (expr.go); common forms run without CEL
//	           (shortcut.go); some forms are recognised by others (form.go)
//	template   text and JSON that contain expressions (template.go)
package expr
