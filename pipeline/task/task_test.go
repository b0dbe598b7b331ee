package task

import (
	"sync"
	"testing"
)

// TestGroupManyWait: all of many tasks that wait for a group return.
func TestGroupManyWait(t *testing.T) {
	for range 200 {
		g := Group{World: Real{}}
		free := make(chan struct{})
		for range 3 {
			g.Go(func() { <-free })
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(g.Wait)
		}
		close(free)
		all.Wait()
	}
}
