package bench

import "testing"

// TestTally: a burst fails unless each user has one offer.
func TestTally(t *testing.T) {
	for _, one := range []struct {
		name   string
		offers []string
		ok     bool
	}{
		{"one each", []string{"user-1", "user-0"}, true},
		{"none for one", []string{"user-1"}, false},
		{"two for one", []string{"user-1", "user-1", "user-0"}, false},
		{"two for one, none for another", []string{"user-1", "user-1"}, false},
		{"another user", []string{"user-1", "user-0", "user-2"}, false},
		{"no user of the bench", []string{"user-1", "user-0", "ada"}, false},
	} {
		all := tally{has: make([]bool, 2)}
		ok := true
		for _, user := range one.offers {
			ok = all.add(user) == nil && ok
		}
		if ok = all.complete() == nil && ok; ok != one.ok {
			t.Errorf("%s: accepted: %v", one.name, ok)
		}
	}
}
