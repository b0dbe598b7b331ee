package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"offerstream/config"
	"offerstream/deploy"
	"offerstream/pipeline/campaign"
)

// An itemsReport is the result of a run with --items.
type itemsReport struct {
	Partitions int `json:"partitions"`
	Events     int `json:"events"`
	Users      int `json:"users"`
	itemsRate
	Live *itemsLive `json:"live"`
	Fan  *fanReport `json:"fan"`
}

// items is `bench --items`: campaigns that read features of products.
func (b *Run) items(ctx context.Context) (*itemsReport, error) {
	r := &itemsReport{Partitions: b.Partitions, Events: b.Events, Users: b.Users}
	if err := b.itemsRate(ctx, &r.itemsRate); err != nil {
		return nil, err
	}
	var err error
	if r.Live, err = b.itemsLive(ctx); err != nil {
		return nil, err
	}
	r.Fan, err = b.fan(ctx)
	return r, err
}

func (r *itemsReport) Print(w io.Writer) {
	fmt.Fprintf(w, "%d events of %d users, %d partitions\n\n", r.Events, r.Users, r.Partitions)
	r.itemsRate.Print(w)
	r.Live.Print(w)
	r.Fan.Print(w)
}

// shopWith returns the shipped campaigns and those of a file of the given text.
func (b *Run) shopWith(name, text string) (*campaign.Definition, error) {
	dir := filepath.Join(b.dir, "campaigns-"+name)
	if err := os.CopyFS(dir, deploy.Campaigns()); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return config.LoadCampaigns(filepath.Join(dir, "shop.yaml"), file)
}
