// Command sdks plays the scene of scene.mjs with SDKs for Go: segment or rudder.
package main

import (
	"fmt"
	"log"
	"os"
	"time"
)

// A player sends with an SDK.
type player struct {
	identify func(user, anonymous string, traits map[string]any) error
	track    func(event string, properties map[string]any) error
	page     func(name string, properties map[string]any) error
	group    func(group string, traits map[string]any) error
	alias    func(user, previous string) error
	consent  func(event string, properties map[string]any) error // with the user token
	close    func() error
}

var odd = map[string]any{
	"text": "é \"quoted\" \\ \u2028 😀", "empty": "", "nothing": nil, "yes": true, "big": 1e21, "small": .1,
	"list": []any{1, "a", map[string]any{"b": nil}}, "deep": map[string]any{"a": map[string]any{"b": map[string]any{"c": []any{}}}}, "a key.with dots": 1,
}

func main() {
	log.SetFlags(0)
	p, err := map[string]func(url, key, token string) (*player, error){"segment": withSegment, "rudder": withRudder}[os.Args[1]](os.Args[2], os.Args[3], os.Args[4])
	must(err)
	must(p.identify("ann", "visitor", map[string]any{"city": "Seoul"}))
	must(p.page("Home", map[string]any{"path": "/"}))
	must(p.group("staff", map[string]any{"floor": 3}))
	must(p.alias("ann", "visitor-2"))
	must(p.consent("Consent Granted", map[string]any{"channel": "sms"}))
	must(p.track("Odd", odd))
	for i := range 1000 {
		must(p.track("Burst", map[string]any{"i": i}))
	}
	time.Sleep(time.Second) // so that these are sent; there is no flush
	fmt.Println("restart")
	for i := range 50 {
		must(p.track("Restart", map[string]any{"i": i}))
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(8 * time.Second) // Close drops what is being sent again
	must(p.close())
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
