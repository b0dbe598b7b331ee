package pipeline

import (
	"errors"

	"offerstream/pipeline/expr"
)

// failed counts the error of an expression of an evaluation, and shows it.
func (s *step) failed(c *liveCampaign, place, text string, err error) {
	s.live.count(c).failed(err)
	if s.failing != nil {
		s.failing(Failure{Campaign: c.id, Place: place, Text: text, Err: err})
	}
}

// failedOffer is failed for the error of an offer: of its template or of `choose`.
func (s *step) failedOffer(e *evaluation, err error) {
	place, text := "choose", e.c.def.Choose
	if t := (*expr.TemplateError)(nil); errors.As(err, &t) {
		place, text = "offer.data"+t.Path, t.Text
	}
	s.failed(e.c, place, text, err)
}

// A counted says whose conditions are judged and where they stand, so that their
// errors count. It has no pointer to the evaluation, which else would be a piece of
// memory of its own.
type counted struct {
	s     *step
	c     *liveCampaign
	place string
}

// failed counts the error of an expression of a feature, and shows it unless show is
// nil.
func (f *feature) failed(counts *Counts, show func(Failure), place, text string, err error) {
	counts.failed(err)
	if show != nil {
		show(Failure{Feature: f.def.Name, Place: place, Text: text, Err: err})
	}
}
