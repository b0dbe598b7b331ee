package config

import (
	"fmt"
	"net/url"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/zone"
)

// campaignSet reads one file of a set.
func (v value) campaignSet() {
	if v.null() {
		v.problem("the file is empty", "version: 1")
		return
	}
	v.fields(aSet, v.setKeys())
}

// setKeys returns the keys of a set.
func (v value) setKeys() fields {
	d := v.l.def
	return fields{
		"version": func(v value) { v.version() },
		"zone":    func(v value) { z := v.zone(); v.l.once("zone", v, z, func() { d.Zone = z }) },
		"clock":   func(v value) { v.clock() },
		"lateness": func(v value) {
			t := v.span()
			v.l.once("lateness", v, t, func() { d.Lateness = t })
		},
		"forget":    func(v value) { v.forget() },
		"bounds":    func(v value) { v.bounds() },
		"coupons":   func(v value) { v.coupons() },
		"items":     func(v value) { v.named("kinds", func(name string, c value) { c.item(name) }) },
		"features":  func(v value) { v.named("features", func(name string, c value) { c.feature(name) }) },
		"facts":     func(v value) { v.named("facts", func(name string, c value) { c.fact(name) }) },
		"policies":  func(v value) { v.policies() },
		"campaigns": func(v value) { v.named("campaigns", func(name string, c value) { c.campaign(name) }) },
	}
}

func (v value) version() {
	if !v.bad() && (v.is() != "a number" || v.n.Value != "1") {
		v.problem("this version reads campaign files of version 1", "version: 1")
	}
}

func (v value) zone() string {
	const hint = "a name such as Asia/Seoul or UTC"
	z := v.text(hint)
	if z == "" {
		return ""
	}
	if !zone.Known(z) {
		v.problem(fmt.Sprintf("%q is not a time zone", z), hint)
		return ""
	}
	return z
}

func (v value) clock() {
	if c := v.word(campaign.ClockBroker, campaign.ClockEvent); c != "" {
		v.l.once("clock", v, c, func() { v.l.def.Clock = c })
	}
}

func (v value) forget() {
	f := campaign.Forget{Anonymous: campaign.DefaultForgetAnonymous, Known: campaign.DefaultForgetKnown}
	v.fields(forget, fields{
		"anonymous": func(v value) { f.Anonymous = v.span() },
		"known":     func(v value) { f.Known = v.span() },
	})
	v.l.once("forget", v, f, func() { v.l.def.Forget = f })
}

// The upper limits of `bounds`.
const (
	mostEntries  = 4096
	mostKeys     = 4096
	mostUser     = 1 << 20
	mostBytes    = 1 << 20
	mostAbsences = 4096

	mostItemBytes = 16 << 20
)

func (v value) bounds() {
	b := campaign.DefaultBounds
	v.fields(bounds, fields{
		"entries":      func(v value) { b.Entries = v.whole() },
		"keys":         func(v value) { b.Keys = v.whole() },
		"user_entries": func(v value) { b.UserEntries = v.whole() },
		"user_bytes":   func(v value) { b.UserBytes = v.whole() },
		"absences":     func(v value) { b.Absences = v.whole() },
		"item_bytes":   func(v value) { b.ItemBytes = v.whole() },
	})
	if b.ItemBytes == campaign.DefaultItemBytes { // as if it were not written, so that the set is the same
		b.ItemBytes = 0
	}
	v.l.once("bounds", v, b, func() { v.l.def.Bounds = b })
}

// mostKeyID bounds the id of a key of coupons.
const mostKeyID = 64

func (v value) coupons() {
	var c campaign.Coupons
	v.fields(coupons, fields{
		"key": func(v value) {
			if c.Key = v.text("the id of a key, in quotes if it is a number"); len(c.Key) > mostKeyID {
				v.problem(fmt.Sprintf("the id has %d characters, at most %d are allowed", len(c.Key), mostKeyID), "")
			}
		},
		"url": func(v value) { c.URL = v.webAddress() },
	})
	v.l.once("coupons", v, c, func() { v.l.def.Coupons = &c })
}

func (v value) webAddress() string {
	t := v.text(v.row.hint())
	if t == "" {
		return ""
	}
	if u, err := url.Parse(t); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		v.problem(fmt.Sprintf("%q is not a web address", t), v.row.hint())
		return ""
	}
	return t
}
