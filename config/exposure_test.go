package config

import (
	"flag"
	"reflect"
	"strings"
	"testing"
)

// TestExposure: a command with flags of its own reads the same settings.
func TestExposure(t *testing.T) {
	for args, want := range map[string]string{
		"": "[0.0.0.0/0 1000 200 false  false ]",
		"--proxies=203.0.113.0/24,2001:db8::/32,198.51.100.7 --address-rate=0 --user-rate=5 --bots=drop --redact=context.ip,traits.address.street --addresses=cut": "[203.0.113.0/24,2001:db8::/32,198.51.100.7/32 0 5 true context.ip,traits.address.street true ]",
		"--proxies=203.0.113.1/24": `--proxies: "203.0.113.1/24" is not a network`,
		"--proxies=shop.example":   `--proxies: "shop.example" is not a network`,
		"--address-rate=-1":        `--address-rate: "-1" is not a whole number`,
		"--bots=maybe":             `--bots: "maybe" is neither keep nor drop`,
		"--redact=userId":          `--redact: "userId" is not the path of a member`,
		"--redact=context..ip":     `--redact: "context..ip" is not the path of a member`,
		"--addresses=drop":         `--addresses: "drop" is neither keep nor cut`,
	} {
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		read := ExposureFlags(fs.String, func(_, otherwise string) string { return otherwise })
		if err := fs.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		e, err := read()
		s, other := Gateway(append([]string{"--write-key=k"}, strings.Fields(args)...), nil, nil)
		if (err == nil) != (other == nil) || err == nil && !reflect.DeepEqual(e, s.Exposure) {
			t.Errorf("%s: %+v, %v; as a gateway's: %v", args, e, err, other)
		}
		if got := shownExposure(e); err == nil && got != strings.Replace(want, "0.0.0.0/0", "", 1) || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %s, %v", args, got, err)
		}
	}
}

func shownExposure(e Exposure) string {
	s, texts := &Settings{Exposure: e}, []string(nil)
	for _, row := range exposure[3 : len(exposure)-1] { // without files
		text := row.show(s)
		switch text {
		case "keep":
			text = "false"
		case "drop", "cut":
			text = "true"
		}
		texts = append(texts, text)
	}
	return "[" + strings.Join(texts, " ") + "]"
}
