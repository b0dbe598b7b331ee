package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
)

// show is `offerctl campaigns show`.
func (c *campaigns) show(ctx context.Context, args []string) error {
	d, err := c.look(ctx)
	if err != nil {
		return err
	}
	id := campaign.NameOf(args[0])
	if err := d.known(args[0]); err != nil {
		return err
	}
	def := &d.def.Campaigns[slices.IndexFunc(d.def.Campaigns, func(c campaign.Campaign) bool { return c.ID == id })]
	is := d.campaign(def)
	if c.asJSON {
		return writeJSON(c.std.out, struct {
			Set string `json:"set"`
			listedCampaign
			Definition *campaign.Campaign `json:"definition"`
		}{d.live.Set, is, def})
	}
	text, err := c.written(ctx, d.live.Set, def)
	if err != nil {
		return err
	}
	out := onDisplay(c.std.out)
	fmt.Fprintf(out, "campaign %s of set %s: %s on %s\n", id, d.live.Set, def.Offer.Kind, def.Offer.Channel)
	if len(def.Rows) > 0 {
		fmt.Fprintf(out, "rows: %d\n", len(def.Rows))
	}
	fmt.Fprintf(out, "limits: %s\n", limitsText(def.Limits))
	fmt.Fprintf(out, "state: %s\n\n%s", is.text(d.of), text)
	return nil
}

// limitsText says how much a user gets of a campaign.
func limitsText(limits []campaign.Limit) string {
	var parts []string
	for _, l := range limits {
		switch {
		case l.PerSession:
			parts = append(parts, fmt.Sprintf("%d per session", l.Max))
		case l.Within == 0:
			parts = append(parts, fmt.Sprintf("%d ever", l.Max))
		default:
			parts = append(parts, fmt.Sprintf("%d within %s", l.Max, campaign.FormatDuration(l.Within)))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// written is a campaign as it was written; where that is not stored, its definition
// as JSON.
func (c *campaigns) written(ctx context.Context, set string, def *campaign.Campaign) (string, error) {
	files, err := c.conn.Files(ctx, set)
	switch {
	case errors.Is(err, broker.ErrNoFiles):
	case err != nil:
		return "", err
	}
	for _, f := range files {
		if text, ok := campaignIn(f.Text, def.ID); ok {
			return fmt.Sprintf("# %s\n%s", f.Path, text), nil
		}
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err = enc.Encode(def)
	return text.String(), err
}

// campaignIn is a campaign as a file has it, with its comments.
func campaignIn(text, id string) (string, bool) {
	var doc yaml.Node
	if yaml.Unmarshal([]byte(text), &doc) != nil || len(doc.Content) == 0 {
		return "", false // a table of facts, or rows
	}
	all, _ := valueOf(doc.Content[0], "campaigns")
	is, key := valueOf(all, id)
	if is == nil {
		return "", false
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if enc.Encode(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, is}}) != nil {
		return "", false
	}
	return b.String(), true
}

// valueOf is the value of a key of a map, with the key; nil if there is none.
func valueOf(m *yaml.Node, name string) (is, key *yaml.Node) {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return m.Content[i+1], m.Content[i]
		}
	}
	return nil, nil
}
