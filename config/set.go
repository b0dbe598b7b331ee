package config

import (
	"fmt"
	"time"

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
			t := v.duration(0, "lateness: 1h")
			v.l.once("lateness", v, t, func() { d.Lateness = t })
		},
		"forget":    func(v value) { v.forget() },
		"bounds":    func(v value) { v.bounds() },
		"features":  func(v value) { v.named("features", func(name string, c value) { c.feature(name) }) },
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
		"anonymous": func(v value) { f.Anonymous = v.duration(time.Hour, "anonymous: 90d") },
		"known":     func(v value) { f.Known = v.duration(time.Hour, "known: 1095d") },
	})
	v.l.once("forget", v, f, func() { v.l.def.Forget = f })
}

// The upper limits of `bounds`.
const (
	mostEntries  = 4096
	mostKeys     = 4096
	mostUser     = 1 << 20
	leastBytes   = 1 << 10
	mostBytes    = 1 << 20
	mostAbsences = 4096
)

func (v value) bounds() {
	b := campaign.DefaultBounds
	v.fields(bounds, fields{
		"entries":      func(v value) { b.Entries = v.integer(1, mostEntries) },
		"keys":         func(v value) { b.Keys = v.integer(1, mostKeys) },
		"user_entries": func(v value) { b.UserEntries = v.integer(1, mostUser) },
		"user_bytes":   func(v value) { b.UserBytes = v.integer(leastBytes, mostBytes) },
		"absences":     func(v value) { b.Absences = v.integer(1, mostAbsences) },
	})
	v.l.once("bounds", v, b, func() { v.l.def.Bounds = b })
}
