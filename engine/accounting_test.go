package engine

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/kv"
)

// TestOverlapIsHitRate runs with --kv-keep selected and expects, in every layer,
// as many hits as neighbouring selections have blocks in common, counted
// independently from a log of the selections. A tail that is born in a step is
// in place without having been selected before: one more hit per KV head.
func TestOverlapIsHitRate(t *testing.T) {
	const prompt, generate = 400, 60
	for _, method := range []string{"infllmv2", "dma", "nosa"} {
		for _, disk := range []bool{false, true} {
			t.Run(method, func(t *testing.T) {
				dev, err := cpu.New(cpu.Options{Threads: 2})
				if err != nil {
					t.Fatal(err)
				}
				defer dev.Close()
				src, err := OpenSource(*sameModel)
				if err != nil {
					t.Fatal(err)
				}
				type place struct{ layer, head int }
				before := map[place][]int32{}
				hits, selected := make([]int64, src.Config.Layers), make([]int64, src.Config.Layers)
				block := 0
				var atPrompt kv.Stats
				var e *Engine
				o := NewOptions()
				// Steps of one token, so that what stays is one query's selection.
				o.Attention, o.Keep, o.Context, o.Chunk = method, kv.KeepSelected, prompt+generate, 1
				o.OnSelect = func(layer int, tile compute.Tile, sel compute.Selection) {
					own := int32(tile.Own(block))
					for h := range src.Config.KVHeads {
						row := sel.List(tile.N-1, h, int(own))
						at := place{layer, h}
						if tile.Pos >= prompt {
							selected[layer] += int64(len(row))
							for _, b := range row {
								if b == own || slices.Contains(before[at], b) {
									hits[layer]++
								}
							}
						}
						before[at] = row
					}
				}
				o.OnLogits = func(pos int, _ []float32) {
					if pos == prompt-1 {
						atPrompt = e.store.Stats()
					}
				}
				budget{device: 0.6, host: 0.2, disk: disk}.apply(t, src, &o)
				if e, err = Open(dev, src, o, slog.New(slog.DiscardHandler)); err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				block = e.set.constants.Block
				ids := make([]int32, prompt)
				for i := range ids {
					ids[i] = int32(i * i % src.Config.Vocab)
				}
				out, err := e.Generate(context.Background(), Request{IDs: ids, MaxTokens: generate, IgnoreEnd: true})
				if err != nil {
					t.Fatal(err)
				}
				if err := accounts(out.Stats, int64(e.set.layout.BlockBytes())); err != nil {
					t.Error(err)
				}
				for i, l := range out.Stats.Layers {
					p := atPrompt.Layers[i]
					if got, of := l.Hits-p.Hits, l.Selected-p.Selected; got != hits[i] || of != selected[i] {
						t.Errorf("layer %d: %d hits of %d selected; the selections have %d of %d in common", i, got, of, hits[i], selected[i])
					}
				}
				t.Logf("hit rate while decoding: %d of %d", sum(hits), sum(selected))
				// dma's choice moves when a block is born, and what it drops it rarely
				// takes back.
				if method != "dma" && sum(hits) == sum(selected) {
					t.Error("nothing was ever missed, so nothing was tested")
				}
			})
		}
	}
}

func sum(v []int64) (n int64) {
	for _, x := range v {
		n += x
	}
	return n
}
