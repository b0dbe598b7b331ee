package deploy_test

import (
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"offerstream/config"
)

// TestComposeSettings: gateway and worker accept the settings in compose.yaml;
// they refuse unknown ones.
func TestComposeSettings(t *testing.T) {
	b, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Image       string
			Environment map[string]string
			Volumes     []string
			Ports       []string
		}
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	variable := regexp.MustCompile(`\$\{(\w+):[-?]([^}]*)\}`)
	environ := func(service string) (env []string) {
		for k, v := range file.Services[service].Environment {
			v = variable.ReplaceAllStringFunc(v, func(s string) string {
				m := variable.FindStringSubmatch(s)
				if strings.Contains(s, ":?") {
					return "key" // a variable that must be set
				}
				return m[2]
			})
			env = append(env, k+"="+v)
		}
		return env
	}
	g, err := config.Gateway(nil, environ("gateway"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if g.NATS != "nats://gateway:gateway@nats:4222" || g.Addr != "0.0.0.0:8080" || len(g.WriteKeys) != 1 || len(g.ServerKeys) != 1 || g.MetricsAddr == "" {
		t.Errorf("the gateway's settings: %+v", g)
	}
	one, two := file.Services["worker"], file.Services["worker-2"]
	for _, name := range []string{"worker", "worker-2"} {
		w, err := config.Worker(nil, environ(name), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if w.NATS != "nats://worker:worker@nats:4222" || w.Dir != "/data" || w.MetricsAddr == "" {
			t.Errorf("the settings of %s: %+v", name, w)
		}
	}
	if !maps.Equal(one.Environment, two.Environment) || len(one.Volumes) != 1 || len(two.Volumes) != 1 || one.Volumes[0] == two.Volumes[0] || slices.Equal(one.Ports, two.Ports) {
		t.Errorf("the workers are to have the same settings, and each a directory: %+v, %+v", one, two)
	}
	for name, s := range file.Services {
		if host, _, ok := strings.Cut(s.Image, "/"); ok {
			t.Errorf("service %s takes its image from %s", name, host)
		}
	}
}
