package event

import (
	"slices"
	"strings"
)

// Lacks are the paths that other reads and that a copy of an event with these
// fields does not hold, or not whole: properties, price for example, and items. A
// copy always holds the name, at least its beginning.
func (f *Fields) Lacks(other *Fields) (paths [][]string) {
	for _, p := range other.paths {
		if path := strings.Split(p, separator); !f.holds(path) {
			paths = append(paths, path)
		}
	}
	if other.items && !f.items && !f.holds([]string{"properties"}) {
		paths = append(paths, []string{"items"})
	}
	return paths
}

// holds reports whether a copy of any event has all that the event has at a path.
func (f *Fields) holds(path []string) bool {
	for n := range path {
		if slices.Contains(f.paths, strings.Join(path[:n+1], separator)) {
			return true
		}
	}
	return f.items && len(path) > 1 && path[0] == "properties" && path[1] == "products" // of an event without them, items are all properties
}
