// Package expr is what campaigns are written in: CEL, checked and bounded.
//
//	env        the library, with arithmetic that mixes numbers (env.go,
//	           arithmetic.go)
//	scope      what an expression sees when it runs (scope.go)
//	language   what one kind of place may see, and compiling for it (language.go)
//	expr       a compiled expression (expr.go); those of common forms run without
//	           CEL (shortcut.go); which forms mean something (form.go)
//	template   text and JSON with expressions in it (template.go)
package expr
