//go:build linux && amd64

package train

import (
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// BenchmarkChoice is the choice of blocks of one layer in training, and each of its parts. Pairs are those of
// queries and windows, of rows that do not see every block.
func BenchmarkChoice(b *testing.B) {
	all := newBench(b)
	methods := []struct {
		name string
		p    compute.SelectParams
	}{
		{"nosa", compute.SelectParams{Init: 1, Local: 16, Query: 16, K: 64, ByQuery: true, ByScore: true}},
		{"infllmv2", compute.SelectParams{Init: 1, Local: 16, K: 64, ByQuery: true}},
		{"dma", compute.SelectParams{Init: 1, Local: 16, K: 64, ByScore: true}},
	}
	for _, tc := range []struct {
		name                string
		docs                int
		kvHeads, group, dim int
	}{
		{"16384", 1, 3, 3, 64},
		{"2x8192", 2, 3, 3, 64},
		{"16384-dim128", 1, 2, 16, 128},
	} {
		rows := 16384
		if testing.Short() { // about as little as can be, for an emulator
			rows = 256
		}
		for _, m := range methods {
			if testing.Short() {
				m.p.K, m.p.Local, m.p.Query = 1, 0, 0
			}
			b.Run(tc.name+"/"+m.name, func(b *testing.B) {
				d := &bench{b, all.Device, all.rng}
				docs := compute.Documents{Begins: []int32{0}, Block: 64, Kernel: 32, Stride: 16}
				for i := range tc.docs {
					docs.Begins = append(docs.Begins, int32((i+1)*rows/tc.docs))
				}
				q, k := d.normals(dtype.BF16, rows, tc.kvHeads*tc.group, tc.dim), d.normals(dtype.BF16, rows, tc.kvHeads, tc.dim)
				s := d.normals(dtype.F32, rows, tc.kvHeads)
				sel := compute.Selection{Blocks: d.alloc(dtype.I32, rows, tc.kvHeads, m.p.Most()), Count: d.alloc(dtype.I32, rows, tc.kvHeads)}
				pairs := 0
				docs.Tiles(func(_, n, pos int) {
					if pos >= m.p.K*docs.Block {
						pairs += n * pos / docs.Stride * tc.kvHeads * tc.group
					}
				})
				time := func(name string, op func()) {
					b.Run(name, func(b *testing.B) { d.timed(b, float64(pairs)/1e9, "Gpair/s", op) })
				}
				time("all", func() { d.ChooseBlocks(sel, q, k, s, docs, m.p) })
				w, ok := d.choiceWalk(sel, q, k, s, docs, m.p)
				if !ok {
					b.Fatal(d.Sync())
				}
				if len(w.launches) != 1 {
					b.Fatalf("scores have room in %d launches", len(w.launches))
				}
				time("summarize", func() { w.summarize(d.Device) })
				if m.p.ByQuery {
					time("score", func() { w.score(d.Device, 0, w.launches[0]) })
				}
				time("choose", func() { w.choose(d.Device, 0, w.launches[0]) })
			})
		}
	}
}
