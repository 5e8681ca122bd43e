//go:build linux && amd64

package step

import (
	"fmt"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// TestStepManyRows: sequences have the same bits alone and in steps of 64, as a graph or
// posted one by one, while others come and are given up, whose columns go to the next.
func TestStepManyRows(t *testing.T) {
	const seats = 64
	length := 40
	if testing.Short() {
		length = 20
	}
	for _, c := range []struct {
		p  compute.SelectParams
		kv compute.KVType
	}{{nosaParams, compute.KVBF16}, {everyBlock, compute.KVQ8}} {
		l := cacheOf(c.p.ByScore, c.kv)
		w := newWorld(t, small, dtype.BF16, l)
		lengths := slices.Repeat([]int{length}, seats)
		texts := w.texts(lengths...)
		watched := []int{0, 7, 33, 63}
		var want [][][]float32
		for _, i := range watched {
			r := w.start(c.p, 64, 1, setting{rows: 1, columns: 4})
			want = append(want, r.decode(texts[i:i+1], []int{0})[0])
			r.close()
		}
		all := 2 * 2 * seats * 3 // layers, heads, blocks of each
		for _, s := range []struct {
			setting
			eager bool
		}{{setting{rows: seats, columns: 4 * seats}, false}, {setting{rows: seats, columns: 4 * seats, slots: all + 4*seats}, false}, {setting{rows: seats, columns: 4 * seats, slots: all + 4*seats}, true}} {
			t.Run(fmt.Sprintf("%v/%+v", c.kv, s), func(t *testing.T) {
				if testing.Short() && (c.kv != compute.KVBF16 || s.slots == 0) {
					t.Skip("-short: bf16, offloaded")
				}
				r := w.start(c.p, 64, seats, s.setting)
				defer r.close()
				r.step.eager = s.eager
				given := map[int]int{} // positions of those that begin again
				for n := range length {
					var rows []compute.StepRow
					for seat := range seats {
						pos := n - given[seat]
						if n%9 == 8 && seat%5 == 2 && !slices.Contains(watched, seat) { // given up
							r.step.Rise(seat, nil)
							if len(r.seats[seat]) > 0 {
								r.step.Drop(r.seats[seat])
								r.free = append(r.free, r.seats[seat]...)
							}
							r.seats[seat], given[seat] = nil, n
							pos = 0
						}
						rows = append(rows, compute.StepRow{Seat: int32(seat), Pos: int32(pos), Token: texts[seat][pos]})
					}
					got := r.feed(rows...)
					for k, i := range watched {
						if !slices.Equal(got[i], want[k][n]) {
							t.Fatalf("sequence %d, token %d: %v, alone %v", i, n, got[i][:4], want[k][n][:4])
						}
					}
				}
			})
		}
	}
}
