package pipeline

import (
	"fmt"
	"time"

	"offerstream/pipeline/campaign"
)

// CheckForget returns an error if a set forgets anybody, or an item, earlier than logs
// with that retention forget their events (LANGUAGE.md, rule 17): what was sent to a
// visitor who is a user by now would still come, for one who is new. Sets of engines
// in which visitors stay what they are may do so.
func CheckForget(def *campaign.Definition, retention time.Duration) error {
	if def.Engine < mergeEngine {
		return nil
	}
	check := func(key string, after time.Duration) error {
		if after == 0 || after >= retention {
			return nil
		}
		return fmt.Errorf("%s is %s, and the log keeps events for %s: what is on its way to what was forgotten could come for what is new; forget after %[3]s or later", key, campaign.FormatDuration(after), campaign.FormatDuration(retention))
	}
	if err := check("forget.anonymous", def.Forget.Anonymous); err != nil {
		return err
	}
	if err := check("forget.known", def.Forget.Known); err != nil {
		return err
	}
	for i := range def.Items {
		if err := check("items."+def.Items[i].Kind+".forget", def.Items[i].ForgetAfter()); err != nil {
			return err
		}
	}
	return nil
}
