package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/lazyregexp"
)

// readServers reads NATS URLs. Errors mask the URL, because it may contain a
// password.
func readServers(t string) (string, error) {
	var servers []string
	for _, one := range strings.Split(t, ",") {
		one = strings.TrimSpace(one)
		bad := fmt.Errorf("%q is not the URL of a NATS server, such as nats://127.0.0.1:4222", maskServers(one))
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		u, err := url.Parse(one)
		if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" ||
			!slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return "", bad
		}
		if port := u.Port(); port != "" {
			if _, err := readInt(port, 1, 65535); err != nil {
				return "", bad
			}
		}
		servers = append(servers, one)
	}
	return strings.Join(servers, ","), nil
}

// maskServers hides passwords, and users without a password, which are tokens.
func maskServers(t string) string {
	parts := strings.Split(t, ",")
	for i, one := range parts {
		at := strings.LastIndexByte(one, '@')
		if at < 0 {
			continue
		}
		head := 0
		if j := strings.Index(one, "://"); j >= 0 && j < at {
			head = j + 3
		}
		user, _, password := strings.Cut(one[head:at], ":")
		if password {
			user += ":***"
		} else {
			user = "***"
		}
		parts[i] = one[:head] + user + one[at:]
	}
	return strings.Join(parts, ",")
}

func readFileName(t string) (string, error) {
	if t == "" {
		return "", nil
	}
	f, err := os.Open(t)
	if err != nil {
		return "", err
	}
	return t, f.Close()
}

var prefixForm = lazyregexp.New(`^[a-z0-9-]{0,32}$`)

func readPrefix(t string) (string, error) {
	if !prefixForm.MatchString(t) {
		return "", fmt.Errorf("%q is not a prefix: at most 32 of a-z, 0-9 and -", t)
	}
	return t, nil
}

func readInt(t string, least, most int) (int, error) {
	n, err := strconv.Atoi(t)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q is not a whole number from %d to %d", t, least, most)
	}
	return n, nil
}

func readSpan(t string, least time.Duration) (time.Duration, error) {
	d, err := campaign.ParseDuration(t)
	if err == nil && d < least {
		err = fmt.Errorf("%s is too short, at least %s is required", t, campaign.FormatDuration(least))
	}
	return d, err
}

func readAddr(t string) (string, error) {
	_, port, err := net.SplitHostPort(t)
	if err == nil {
		_, err = readInt(port, 0, 65535)
	}
	if err != nil {
		return "", fmt.Errorf("%q is not an address such as 127.0.0.1:8080 or :8080", t)
	}
	return t, nil
}

var keyForm = lazyregexp.New(`^[!-9;-~]{1,256}$`)

func readKeys(t string) ([]string, error) {
	var keys []string
	for _, k := range strings.Split(t, ",") {
		k = strings.TrimSpace(k)
		if !keyForm.MatchString(k) {
			return nil, errKeyForm
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// maskKeys shows how many keys there are.
func maskKeys(keys []string) string {
	return strings.TrimSuffix(strings.Repeat("***,", len(keys)), ",")
}

// units are the units of bytes, those with the longest name first.
var units = []struct {
	name string
	size int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1},
}

func readBytes(t string, least int64) (int64, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(t, u.name)
		if !ok {
			continue
		}
		n, err := readInt(strings.TrimSpace(digits), 0, 1<<30)
		if err != nil || int64(n) > (1<<62)/u.size {
			break
		}
		if int64(n)*u.size < least {
			return 0, fmt.Errorf("%s is too small, at least %s is required", t, printBytes(least))
		}
		return int64(n) * u.size, nil
	}
	return 0, fmt.Errorf("%q is not a number of bytes such as 256MB or 1GiB", t)
}

// printBytes writes n in the largest unit that divides it.
func printBytes(n int64) string {
	best := units[len(units)-1]
	for _, u := range units {
		if n%u.size == 0 && u.size > best.size {
			best = u
		}
	}
	return strconv.FormatInt(n/best.size, 10) + best.name
}

func readDurability(t string) (string, error) {
	switch t {
	case "warn", "strict":
		return t, nil
	}
	return "", fmt.Errorf("%q is not warn or strict", t)
}

func readLevel(t string) (l slog.Level, err error) {
	switch strings.ToLower(t) {
	case "debug", "info", "warn", "error":
		return l, l.UnmarshalText([]byte(t))
	}
	return l, fmt.Errorf("%q is not debug, info, warn or error", t)
}
