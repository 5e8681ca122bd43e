package engine

import (
	"fmt"

	"nosa/kv"
)

func hitRate(s kv.Stats) float64 { return s.Total.HitRate() }

// accounts checks the books of every layer: what was selected was a hit or a
// miss, and every miss moved one block.
func accounts(s kv.Stats, block int64) error {
	for i, l := range s.Layers {
		if l.Hits+l.Misses() != l.Selected {
			return fmt.Errorf("layer %d: %d hits and %d misses of %d selected", i, l.Hits, l.Misses(), l.Selected)
		}
		if l.BytesUp != l.Misses()*block {
			return fmt.Errorf("layer %d: %d bytes moved for %d misses of blocks of %d", i, l.BytesUp, l.Misses(), block)
		}
	}
	return nil
}
