package pipeline

import (
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/campaign"
)

func TestCheckForget(t *testing.T) {
	t.Parallel()
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	for _, c := range []struct {
		def  campaign.Definition
		want string
	}{
		{campaign.Definition{Engine: 5}, ""},
		{campaign.Definition{Engine: 5, Forget: campaign.Forget{Anonymous: week, Known: week}}, ""},
		{campaign.Definition{Engine: 5, Forget: campaign.Forget{Anonymous: week - 1}}, "forget.anonymous is "},
		{campaign.Definition{Engine: 4, Forget: campaign.Forget{Anonymous: day}}, ""},
		{campaign.Definition{Engine: 5, Forget: campaign.Forget{Known: day}}, "forget.known is 1d, and the log keeps events for 7d: "},
		{campaign.Definition{Engine: 5, Items: []campaign.Item{{Kind: "a"}, {Kind: "b", Forget: day}}}, "items.b.forget is 1d, "},
	} {
		err := CheckForget(&c.def, week)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.def, err, c.want)
		}
	}
}
