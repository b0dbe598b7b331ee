package change

import (
	"fmt"
	"slices"

	"offerstream/pipeline/campaign"
)

// differ are the keys whose values differ between two maps.
func differ(old, new *node) (values []Value) {
	differIn(old, new, "", &values)
	return values
}

func differIn(old, new *node, key string, out *[]Value) {
	switch {
	case old != nil && new != nil && old.of != nil && new.of != nil:
		for _, k := range keysOf(old.keys, new.keys) {
			below := k
			if key != "" {
				below = campaign.Member(key, k)
			}
			differIn(old.of[k], new.of[k], below, out)
		}
	case old != nil && new != nil && old.each && new.each && len(old.list)*len(new.list) <= mostAligned:
		align(old.list, new.list, func(i, j int) {
			switch {
			case i < 0:
				differIn(nil, new.list[j], fmt.Sprintf("%s[%d]", key, j), out)
			case j < 0:
				differIn(old.list[i], nil, fmt.Sprintf("%s[%d]", key, i), out)
			default:
				differIn(old.list[i], new.list[j], fmt.Sprintf("%s[%d]", key, j), out)
			}
		})
	default:
		if a, b := old.String(), new.String(); a != b {
			*out = append(*out, Value{key, a, b})
		}
	}
}

// keysOf are the keys of two maps in the order of the new one, each key that only the
// old one has before the key that followed it there.
func keysOf(old, new []string) (keys []string) {
	for _, k := range new {
		if i := slices.Index(old, k); i >= 0 {
			for _, gone := range old[:i] {
				if !slices.Contains(new, gone) {
					keys = append(keys, gone)
				}
			}
			old = old[i+1:]
		}
		keys = append(keys, k)
	}
	for _, gone := range old {
		if !slices.Contains(new, gone) {
			keys = append(keys, gone)
		}
	}
	return keys
}

// mostAligned bounds the product of the lengths of two lists that are compared
// element by element.
const mostAligned = 1 << 16

// align calls fn with the indices of the elements of two lists that take each other's
// place, in order; -1: none does. Those that are equal are left out, as many as
// possible; of others, the most similar take each other's place.
func align(old, new []*node, fn func(i, j int)) {
	a, b := make([]string, len(old)), make([]string, len(new))
	for i, n := range old {
		a[i] = n.String()
	}
	for j, n := range new {
		b[j] = n.String()
	}
	best := make([][]int, len(a)+1) // the sum of the likenesses of the pairs in a[i:] and b[j:]
	for i := range best {
		best[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			best[i][j] = max(best[i+1][j], best[i][j+1], best[i+1][j+1]+likeness(a[i], b[j]))
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		// m and n are the next pair; what stands before it is not alike.
		m, n := i, j
		for m < len(a) && n < len(b) && (likeness(a[m], b[n]) == 0 || best[m][n] != best[m+1][n+1]+likeness(a[m], b[n])) {
			if best[m][n] == best[m+1][n] {
				m++
			} else {
				n++
			}
		}
		if m == len(a) || n == len(b) {
			m, n = len(a), len(b)
		}
		for ; i < m && j < n; i, j = i+1, j+1 {
			fn(i, j)
		}
		for ; i < m; i++ {
			fn(i, -1)
		}
		for ; j < n; j++ {
			fn(-1, j)
		}
		if i < len(a) && j < len(b) {
			if a[i] != b[j] {
				fn(i, j)
			}
			i, j = i+1, j+1
		}
	}
}

// likeness is how much two elements are alike: 4 if they are equal, 1 if they begin
// or end alike, else 0.
func likeness(a, b string) int {
	if a == b {
		return 4
	}
	n, begin, end := min(len(a), len(b)), 0, 0
	for begin < n && a[begin] == b[begin] {
		begin++
	}
	for end < n-begin && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	if 2*(begin+end) > n {
		return 1
	}
	return 0
}
