// Package explain puts into words what a fold did to one user's evaluations: why
// each offer went out, or did not. Its words come from the traces of the fold, so
// that they cannot disagree with what happened.
//
// Reading order: recorder (collects the traces of a fold and links them), story
// (what is told of a user), summary (all campaigns in one sentence), sentence (an
// evaluation in one), condition and
// gate (why a part of it stopped the evaluation), never (a campaign that nothing has
// triggered), text (a story as offerctl prints it), words (times, spans, numbers).
// Besides, unfired says why campaigns have not fired for anybody.
package explain
