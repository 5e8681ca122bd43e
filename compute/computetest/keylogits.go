package computetest

import (
	"math"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// keyLogits compares a device's KeyLogits, if it has any, with the definition: of full blocks
// and of the tail, for some blocks and for all.
func (s *suite) keyLogits(t *testing.T) {
	dev, ok := s.dev.(compute.KeyLogitsDevice)
	if !ok {
		return
	}
	for i, tc := range attendCases {
		if heavy(t, i, tc.rows*tc.heads*tc.group*tc.pos*tc.dim) {
			continue
		}
		for _, kv := range kvTypes {
			l := compute.Layout{Heads: tc.heads, Dim: tc.dim, Block: tc.block, Scores: tc.scores, Type: kv}
			sc := s.newScene(t, l, tc.group, tc.pos, tc.rows)
			c, tile := sc.on(onDev)
			rc, rt := sc.on(onRef)
			filled := tc.pos%tc.block + tc.rows // of the tail
			for h := range l.Heads {
				for _, from := range []int{0, sc.blocks / 2, sc.blocks - 1} {
					p := compute.Part{Head: h, Slots: sc.slots[h][from:]}
					for b := from; b < sc.blocks; b++ {
						p.Blocks = append(p.Blocks, int32(b))
					}
					shape := []int{tc.rows, tc.group, len(p.Blocks), tc.block}
					out, ref := sc.alloc(t, dev, dtype.F32, shape...), sc.alloc(t, sc.ref, dtype.F32, shape...)
					dev.KeyLogits(out, sc.q.dev, c, tile, p)
					compute.KeyLogits(ref, sc.q.ref, rc, rt, p)
					bound := sc.bound()
					got, want := read(dev, out), read(sc.ref, ref)
					for j, w := range want {
						if block := j / tc.block % len(p.Blocks); from+block == sc.blocks-1 && j%tc.block >= filled {
							continue // beyond the tail's tokens
						}
						if d := math.Abs(float64(got[j] - w)); !(d <= bound) {
							t.Fatalf("case %d %v, head %d, blocks from %d: element %d is %v, the definition says %v (allowed %.3g)", i, kv, h, from, j, got[j], w, bound)
						}
					}
				}
			}
		}
	}
}
