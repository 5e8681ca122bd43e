//go:build linux && amd64

package step

import (
	"slices"
	"testing"
	"unsafe"

	"nosa/compute"
	"nosa/dtype"
)

func asBytes(n []int32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(n))), 4*len(n))
}

// TestReplayGPU holds what the kernel writes against Replay.Selection, and what it must
// leave alone against what was there: rows that are nobody's, seats that it does not know,
// sequences that select every block, positions before the first.
func TestReplayGPU(t *testing.T) {
	d, g := open(t)
	for name, tc := range map[string]struct {
		o      ReplayOptions
		places int
		first  []int
	}{
		"8b":      {ReplayOptions{Layers: 3, Heads: 2, Block: 64, Select: infllmv2, Steps: 9, Seed: 1}, 64, []int{32767, 5000, 4095, 131071}},
		"odd":     {ReplayOptions{Layers: 2, Heads: 3, Block: 8, Select: compute.SelectParams{Init: 2, Local: 3, K: 11}, Steps: 2, New: 0.2, Seed: 2}, 13, []int{100, 88, 87}},
		"all odd": {ReplayOptions{Layers: 1, Heads: 1, Block: 3, Select: compute.SelectParams{K: 2}, Steps: 5, New: 0.5, Seed: 3}, 2, []int{6}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplay(t, tc.o, tc.first...)
			p, err := newReplaying(d, g, r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := p.close(); err != nil {
					t.Error(err)
				}
			}()
			var pos, seat []int32
			for s, first := range tc.first {
				for _, n := range []int{0, 1, tc.o.Steps - 1, tc.o.Steps, 2 * tc.o.Steps, 7 * tc.o.Steps} {
					pos, seat = append(pos, int32(first+n)), append(seat, int32(s))
				}
				pos, seat = append(pos, -1, int32(first-1)), append(seat, int32(s), int32(s))
			}
			pos, seat = append(pos, 32767), append(seat, int32(len(tc.first)))
			rows, heads := len(pos), tc.o.Heads
			upload := func(n []int32) compute.Tensor {
				x, err := d.Alloc(dtype.I32, len(n))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { d.Free(x) })
				d.Upload(x, asBytes(n))
				return x
			}
			const untouched = -77
			before := slices.Repeat([]int32{untouched}, rows*heads*tc.places)
			at := rowsArgs{n: int32(rows), pos: upload(pos).Addr, seat: upload(seat).Addr}
			for layer := range tc.o.Layers {
				blocks, count := upload(before), upload(before[:rows*heads])
				p.replay(at, layer, selectionArgs{places: int32(tc.places), blocks: blocks.Addr, count: count.Addr})
				gotBlocks, gotCount := make([]int32, len(before)), make([]int32, rows*heads)
				d.Download(asBytes(gotBlocks), blocks)
				d.Download(asBytes(gotCount), count)
				if err := d.Sync(); err != nil {
					t.Fatal(err)
				}
				for row := range rows {
					for head := range heads {
						var want []int32
						if pos[row] >= 0 && int(seat[row]) < len(tc.first) {
							want = r.Selection(nil, int(seat[row]), layer, head, int(pos[row]))
						}
						n := int32(len(want))
						if n == 0 {
							n = untouched
						}
						for len(want) < tc.places {
							want = append(want, untouched)
						}
						i := row*heads + head
						if got := gotBlocks[i*tc.places : (i+1)*tc.places]; gotCount[i] != n || !slices.Equal(got, want) {
							t.Fatalf("layer %d, position %d of seat %d, head %d: %d blocks %v, want %d %v", layer, pos[row], seat[row], head, gotCount[i], got, n, want)
						}
					}
				}
			}
		})
	}
}
