// Package explain puts into words what a fold did to one user's evaluations: why
// each offer went out, or did not. Its words come from the traces of the fold, so
// that they cannot disagree with what happened.
package explain
