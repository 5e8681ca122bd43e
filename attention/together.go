package attention

import (
	"context"
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/dtype"
	"nosa/kv"
)

// mostTiles is how many tiles of a span are worked on together. A GPU is full with fewer;
// more would only take scratch memory.
const mostTiles = 32

// together works on many tiles of a span at a time. Where all blocks stay in slots the host
// posts a layer's ops and goes on; else it reads what the tiles have selected, and has all of
// it brought into slots. What does not fit there at once is for single tiles.
type together struct {
	dev    compute.TilesDevice
	tails  compute.Tensor    // F32 [tiles · kvHeads, 2, Block, Dim]: own blocks that are not the sequence's open one
	sel    compute.Selection // I32 [tiles · Block, kvHeads, most], [tiles · Block, kvHeads]
	onHost compute.Selection // the same, where the device has memory of its own
	tiles  []compute.Tile
	slots  [][]int32
}

// newTogether takes the scratch memory that it works in; nil on a device that takes no
// tiles together, or over a store with few slots.
func newTogether(dev compute.Device, store *kv.Store, l compute.Layout, heads, context, places int) (*together, error) {
	d, ok := dev.(compute.TilesDevice)
	if !ok || !d.TakesTiles(l, heads, (context+l.Block-1)/l.Block) || store.Together() < 2 {
		return nil, nil
	}
	g := &together{dev: d, slots: make([][]int32, l.Heads)}
	n := min(tilesOf(l, context), store.Together())
	var errs [3]error
	g.tails, errs[0] = dev.Alloc(dtype.F32, n*l.Heads, 2, l.Block, l.Dim)
	g.sel.Blocks, errs[1] = dev.Alloc(dtype.I32, n*l.Block, l.Heads, places)
	g.sel.Count, errs[2] = dev.Alloc(dtype.I32, n*l.Block, l.Heads)
	if err := errors.Join(errs[:]...); err != nil {
		g.close()
		return nil, err
	}
	if g.onHost = g.sel; g.sel.Count.Data == nil {
		g.onHost.Count = compute.I32s(make([]int32, g.sel.Count.Len()), g.sel.Count.Dims[:2]...)
		g.onHost.Blocks = compute.I32s(make([]int32, g.sel.Blocks.Len()), g.sel.Blocks.Dims[:3]...)
	}
	return g, nil
}

// tilesOf is how many tiles of a context are worked on together.
func tilesOf(l compute.Layout, context int) int { return min(mostTiles, (context+l.Block-1)/l.Block+1) }

// togetherBytes is the memory of newTogether.
func togetherBytes(l compute.Layout, context, places int64) int64 {
	n := int64(tilesOf(l, int(context)))
	return 4 * n * int64(l.Heads*l.Block) * (2*int64(l.Dim) + places + 1)
}

// close gives the scratch memory back.
func (g *together) close() {
	for _, t := range []compute.Tensor{g.tails, g.sel.Blocks, g.sel.Count} {
		if !t.None() {
			g.dev.Free(t)
		}
	}
}

// takes reports whether the rows of a span are worked on together: if they are of more
// than one block.
func (a *Attention) takes(s Span) bool {
	return a.together != nil && s.Attended == nil && !s.Seq.Rewritten() && s.Pos/a.layout.Block != (s.Pos+s.N-1)/a.layout.Block
}

// runTogether is Run, for as many tiles at a time as there is room for.
func (a *Attention) runTogether(ctx context.Context, s Span) error {
	g, size := a.together, a.layout.Block
	most := g.tails.Dims[0] / a.layout.Heads
	for done := 0; done < s.N; {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("attention: sequence %d, layer %d: %w", s.Seq.Number(), s.Layer, err)
		}
		g.tiles = g.tiles[:0]
		for len(g.tiles) < most && done < s.N {
			pos := s.Pos + done
			n := min(s.N-done, size-pos%size)
			t := compute.Tile{Row: s.Row + done, N: n, Pos: pos, Tables: s.Seq.Tables(s.Layer), Tail: s.Seq.Tail(s.Layer)}
			// The first goes on where the sequence's open block ends; the others begin.
			if i := len(g.tiles); i > 0 {
				t.Tail = g.tails.Rows(i*a.layout.Heads, (i+1)*a.layout.Heads)
			}
			g.tiles = append(g.tiles, t)
			done += n
		}
		if err := a.attendTogether(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// attendTogether appends the tiles of g.tiles, seals those that are full, and attends.
func (a *Attention) attendTogether(ctx context.Context, s Span) error {
	g, size, cache := a.together, a.layout.Block, a.store.Cache()
	tiles := g.tiles
	last := tiles[len(tiles)-1]
	g.dev.AppendTiles(cache, tiles, s.K, s.V, s.S)
	full := tiles
	if (last.Pos+last.N)%size != 0 {
		full = tiles[:len(tiles)-1]
	}
	if len(full) > 0 {
		if err := s.Seq.SealTiles(ctx, g.dev, full, s.Layer); err != nil {
			return err
		}
	}
	// Rows that only leave their keys and values come first.
	wanted := tiles
	for skip := s.Skip - (tiles[0].Row - s.Row); skip > 0 && len(wanted) > 0; {
		n := min(skip, wanted[0].N)
		skip -= n
		if n == wanted[0].N {
			wanted = wanted[1:]
			continue
		}
		wanted[0].Row, wanted[0].N, wanted[0].Pos = wanted[0].Row+n, wanted[0].N-n, wanted[0].Pos+n
	}
	if len(wanted) > 0 {
		if err := a.attendWanted(ctx, s, wanted); err != nil {
			return err
		}
	}
	if len(full) < len(tiles) && len(tiles) > 1 { // the sequence's open block is another one now
		last.Tail = s.Seq.Tail(s.Layer)
		g.dev.Append(cache, last, s.K, s.V, s.S)
	}
	return nil
}

// attendWanted attends for the rows of tiles whose keys and values are in the cache.
func (a *Attention) attendWanted(ctx context.Context, s Span, tiles []compute.Tile) error {
	g, cache := a.together, a.store.Cache()
	rows, last := 0, tiles[len(tiles)-1].Own(a.layout.Block)
	for _, t := range tiles {
		rows += t.N
	}
	sel := g.sel.Rows(0, rows)
	g.dev.SelectTiles(sel, s.Q, cache, tiles, a.params)
	resident := a.store.Resident()
	if !resident || a.Trace != nil {
		if sel.Count.Data == nil {
			g.dev.Download(g.onHost.Count.Data, sel.Count)
			g.dev.Download(g.onHost.Blocks.Data, sel.Blocks)
		}
	}
	if resident {
		a.tell(s.Layer, tiles)
		s.Seq.WhereAll(s.Layer, last, len(tiles), g.slots)
		g.dev.AttendTiles(s.Out, s.Q, cache, tiles, sel, g.slots)
		return nil
	}

	a.unionOf(tiles)
	rounds := a.store.Recall(ctx, s.Seq, s.Layer, a.want)
	defer rounds.Close()
	if a.Method.Foresees() && s.Layer+1 < a.Layers {
		a.store.Prefetch(s.Seq, s.Layer+1, a.want)
	}
	some := rounds.Next(ctx)
	if err := rounds.Err(); err != nil {
		return err
	}
	if some && !rounds.Last() {
		rounds.Close()
		return a.oneByOne(ctx, s, tiles)
	}
	a.tell(s.Layer, tiles)
	for h := range g.slots {
		g.slots[h] = g.slots[h][:0]
		for range last {
			g.slots[h] = append(g.slots[h], -1)
		}
	}
	for _, p := range rounds.Parts() {
		for i, b := range p.Blocks {
			g.slots[p.Head][b] = p.Slots[i]
		}
	}
	g.dev.AttendTiles(s.Out, s.Q, cache, tiles, sel, g.slots)
	return nil
}

// oneByOne attends tile by tile.
func (a *Attention) oneByOne(ctx context.Context, s Span, tiles []compute.Tile) error {
	for _, t := range tiles {
		if err := a.attend(ctx, s, t); err != nil {
			return err
		}
	}
	return nil
}

// unionOf is union for the rows of tiles whose selections are on the host: every block that
// one of them selected and that is not its own.
func (a *Attention) unionOf(tiles []compute.Tile) {
	sel, size := a.together.onHost, a.layout.Block
	count, blocks := sel.Count.I32(), sel.Blocks.I32()
	heads, places := a.layout.Heads, sel.Blocks.Dims[2]
	last := tiles[len(tiles)-1].Own(size)
	for h := range a.want {
		marks := a.marks[:last/64+1]
		clear(marks)
		every, row := 0, 0 // blocks that a row sees all of
		for _, t := range tiles {
			own := int32(t.Own(size))
			for range t.N {
				at := row*heads + h
				row++
				if count[at] < 0 {
					every = int(own)
					continue
				}
				for _, b := range blocks[at*places:][:count[at]] {
					if b != own {
						marks[b/64] |= 1 << (b % 64)
					}
				}
			}
		}
		a.want[h] = appendMarked(append(a.want[h][:0], a.all[:every]...), marks, every)
	}
}

// tell tells the trace, if there is one, what tiles have selected.
func (a *Attention) tell(layer int, tiles []compute.Tile) {
	first := 0
	for _, t := range tiles {
		if a.Trace != nil {
			a.Trace(layer, t, a.together.onHost.Rows(first, t.N))
		}
		first += t.N
	}
}
