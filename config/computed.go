package config

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/campaign"
)

// computedSpan reads a duration that may be an expression, which the key at_most of
// the same map bounds. One of both is returned.
func (has present) computedSpan(name string) (d time.Duration, is string) {
	v, ok := has[name]
	most, bounded := has["at_most"]
	switch {
	case !ok:
		return 0, ""
	case v.isExpression(bounded):
		if is = v.cel(); is != "" && !bounded {
			v.problem(fmt.Sprintf("`%s` is computed, so it needs `at_most`", name), "at_most: 30d, the longest that it may be")
		}
		return 0, is
	}
	if d = v.span(); d != 0 && bounded {
		most.problemAt(start(most.key), fmt.Sprintf("`at_most` is for a computed `%s`, and this one is a duration", name), "remove it")
	}
	return d, ""
}

// isExpression reports whether a text in the place of a duration is an expression:
// whatever is no duration and was not meant as one. Without at_most, a word alone is
// taken for a duration that is wrong.
func (v value) isExpression(bounded bool) bool {
	if v.bad() || v.n.Kind != yaml.ScalarNode || v.is() == "a number" || v.null() {
		return false
	}
	text := v.n.Value
	if _, err := campaign.ParseDuration(text); err == nil || campaign.SpellDuration(text) != "" {
		return false
	}
	return bounded || computed.MatchString(text)
}
