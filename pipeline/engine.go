package pipeline

import (
	"fmt"
	"strconv"
)

// Engine is the number of the semantics that this binary implements. It changes
// whenever the same log would give other offers (testdata/golden/<Engine>). A
// binary also runs sets of the previous engine (PROTOCOL.md, D3), but none from
// before oldestEngine, which was never released.
const (
	Engine       = 5 // 5: items, mails between entities, budgets and pools; visitors who log in become one with the user
	oldestEngine = 4
)

// runs reports whether a binary with engine newest runs sets of an engine.
func runs(engine, newest int) bool {
	return engine == newest || engine == newest-1 && engine >= oldestEngine
}

// engines names the engines that a binary with engine newest runs.
func engines(newest int) string {
	if runs(newest-1, newest) {
		return fmt.Sprintf("%d and engine %d", newest-1, newest)
	}
	return strconv.Itoa(newest)
}

// Engines are the engines that this binary runs, the oldest first.
func Engines() (all []int) {
	for n := oldestEngine; n <= Engine; n++ {
		if runs(n, Engine) {
			all = append(all, n)
		}
	}
	return all
}

// entityEngine is the first engine in which event.user is the entity key, and in which a
// session that a switch finds under way ends under the new set.
const entityEngine = 5

// bareUser reports whether event.user is the id alone, as before entityEngine.
func (s *Set) bareUser() bool { return s.def.Engine < entityEngine }
