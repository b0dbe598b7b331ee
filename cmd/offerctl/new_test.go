package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"offerstream/config"
	"offerstream/deploy"
	"offerstream/pipeline"
)

// TestNewList: the list has a line for each set, which says what it does.
func TestNewList(t *testing.T) {
	list, _, _ := strings.Cut(offerctl(t, "new"), "\n\n")
	var ids []string
	for line := range strings.Lines(list) {
		id, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if ids = append(ids, id); len(strings.Fields(text)) < 5 || strings.Contains(text, "#") {
			t.Errorf("%q says too little", line)
		}
	}
	want := []string{"11st-cart", "agoda-last", "amazon-browse", "bigin-basket", "bigin-group", "bigin-time", "coupang-sms", "dormant", "enuri-watch", "gmarket-rank",
		"groobee-bag", "groobee-referrer", "jobkorea-views", "kurly-segment", "naver-aitems", "netflix-rows", "seezn-context", "shinhan-hour", "shinhan-place", "tmon-cycle", "tmon-taste", "demo"}
	if !slices.Equal(ids, want) {
		t.Errorf("listed are %q", ids)
	}
}

// TestNew writes each set into a folder of its own. There it is valid without a
// warning, its scenarios hold, and it is the set that is embedded.
func TestNew(t *testing.T) {
	t.Chdir(t.TempDir())
	ids, err := galleryIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range append(ids, "demo") {
		out := offerctl(t, "new", id)
		for _, want := range []string{"wrote " + filepath.Join(id, id+".yaml") + "\n", "offerctl check " + id + " ", "offerctl test " + id + " ", "offerctl apply " + id + " "} {
			if id != "demo" && !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
		if !strings.Contains(out, "wrote "+filepath.Join(id, schemaFile)+"\n") {
			t.Errorf("no schema is written:\n%s", out)
		}
		for _, name := range []string{id + ".yaml", id + ".test.yaml"} {
			b, err := os.ReadFile(filepath.Join(id, name))
			if has := strings.HasPrefix(string(b), modeline); id != "demo" && (err != nil || has != !strings.HasSuffix(name, ".test.yaml")) {
				t.Errorf("%s: %v; names the schema in its first line: %v", name, err, has)
			}
		}
		def, warnings, err := config.Check{}.Findings(id)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", id, err, warnings)
			continue
		}
		dirs := []string{id}
		if id == "demo" {
			dirs = deploy.First
		}
		embedded, err := config.LoadCampaignsFS(deploy.Gallery(), dirs...)
		if err != nil || embedded.Hash() != def.Hash() {
			t.Errorf("%s: embedded is another set: %v", id, err)
		}
	}
	if out := offerctl(t, "test", "."); !strings.Contains(out, "all passed") {
		t.Error(out)
	}
}

// TestNewTogether: sets of the gallery in one folder form one set, all of them
// too.
func TestNewTogether(t *testing.T) {
	t.Chdir(t.TempDir())
	ids, err := galleryIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		offerctl(t, "new", id, "all")
	}
	def, err := config.LoadCampaigns("all")
	if err != nil {
		t.Fatal(err)
	}
	if len(def.Campaigns) < 30 {
		t.Errorf("%d campaigns", len(def.Campaigns))
	}
}

// TestNewRefuses: nothing is overwritten, and then nothing is written at all.
func TestNewRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	const mine = "# mine\n"
	if err := os.MkdirAll("campaigns", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("campaigns/coupang-sms.test.yaml", []byte(mine), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errs := fails(t, 1, "new", "coupang-sms", "campaigns"); !strings.Contains(errs, "coupang-sms.test.yaml is there already, and nothing was written") {
		t.Error(errs)
	}
	b, err := os.ReadFile("campaigns/coupang-sms.test.yaml")
	if found, _ := os.ReadDir("campaigns"); err != nil || string(b) != mine || len(found) != 1 {
		t.Errorf("%q, %v, %v", b, found, err)
	}
	for id, want := range map[string]string{"coupang-smss": "did you mean coupang-sms?", "../x": "offerctl new lists them all", ".": "offerctl new lists them all"} {
		if _, errs := fails(t, 1, "new", id, "folder"); !strings.Contains(errs, "the gallery has no ") || !strings.Contains(errs, want) {
			t.Errorf("%s: %s", id, errs)
		}
	}
	fails(t, 2, "new", "coupang-sms", "folder", "more")
	if _, err := os.Stat("folder"); !os.IsNotExist(err) {
		t.Errorf("a folder was made for nothing: %v", err)
	}
}

// TestCouponTerms: what an offer says about its coupon, which scenarios do not
// compare.
func TestCouponTerms(t *testing.T) {
	out := offerctl(t, "test", "--json", "--run", "^a search for an appliance", "../../deploy/campaigns/gallery/coupang-sms")
	var ran struct{ Offers []pipeline.Offer }
	if err := json.Unmarshal([]byte(out), &ran); err != nil || len(ran.Offers) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	o := ran.Offers[0]
	const expires = "2026-04-17T02:00:00Z"
	want := pipeline.OfferCoupon{Discount: "5%", SingleUse: true, Claim: "login", Code: "COUPON", URL: "https://shop.example/c/COUPON", Expires: expires}
	if o.Coupon == nil || *o.Coupon != want || o.Channel != "sms" || o.Expires != expires {
		t.Errorf("%+v, with the coupon %+v", o, o.Coupon)
	}
}
