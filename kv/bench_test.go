package kv

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"nosa/compute"
	"nosa/kv/vfs"
)

// benchStore holds one sequence of one layer with so many full columns of blocks
// of 32 KiB.
func benchStore(b *testing.B, cfg Config, columns int) (*Store, *testSequence) {
	cfg.Layout = compute.Layout{Heads: 2, Dim: 128, Block: 64, Type: compute.KVBF16}
	cfg.Layers, cfg.Blocks, cfg.Workers = 1, 2*columns, 16
	s := openTest(b, cfg)
	q, err := newTestSequence(s, SequenceOptions{Tokens: columns * 64, NoShare: true})
	if err != nil {
		b.Fatal(err)
	}
	q.tokens = ids(0, columns*64)
	if err := q.Reserve(columns * 64); err != nil {
		b.Fatal(err)
	}
	for c := range columns {
		s.BeginStep()
		t := compute.Tile{N: 1, Pos: c*64 + 63, Tables: q.Tables(0), Tail: q.Tail(0)}
		if err := q.Seal(context.Background(), t, 0); err != nil {
			b.Fatal(err)
		}
	}
	q.Advance(q.tokens)
	return s, q
}

// walk recalls blocks from to from+n−1 of both heads.
func walk(b *testing.B, s *Store, q *testSequence, want [][]int32, from, n int) {
	for h := range want {
		want[h] = want[h][:0]
		for i := range n {
			want[h] = append(want[h], int32(from+i))
		}
	}
	s.BeginStep()
	r := s.Recall(context.Background(), q.Sequence, 0, want)
	for r.Next(context.Background()) {
	}
	r.Close()
	if err := r.Err(); err != nil {
		b.Fatal(err)
	}
}

func benchRecall(b *testing.B, cfg Config, columns, n int, hit bool) {
	s, q := benchStore(b, cfg, columns)
	want := make([][]int32, 2)
	if !hit {
		b.SetBytes(int64(2 * n * s.cfg.Layout.BlockBytes()))
	}
	walk(b, s, q, want, 0, n)
	before := s.Stats()
	at := 0
	for b.Loop() {
		if !hit {
			at += n
		}
		if at+n > columns {
			at = 0
		}
		walk(b, s, q, want, at, n)
	}
	after := s.Stats()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2*n), "ns/block")
	b.ReportMetric(float64(after.Total.HostHits-before.Total.HostHits)/float64(b.N*2*n), "host/block")
	b.ReportMetric(float64(after.Total.DiskHits-before.Total.DiskHits)/float64(b.N*2*n), "disk/block")
	q.Free()
	closeTest(b, s)
}

// BenchmarkRecall brings 64 blocks of each of two heads, all there, all in the
// host pool, or all on disk.
func BenchmarkRecall(b *testing.B) {
	const columns = 1024
	b.Run("hit", func(b *testing.B) { benchRecall(b, Config{Slots: 256, HostPages: 2 * columns}, columns, 64, true) })
	for _, n := range []int{8, 64} {
		b.Run(fmt.Sprintf("host/%d", n), func(b *testing.B) {
			benchRecall(b, Config{Slots: 256, HostPages: 2 * columns}, columns, n, false)
		})
	}
	b.Run("stream", func(b *testing.B) {
		benchRecall(b, Config{Slots: 256, HostPages: 2 * columns}, columns, columns, false)
	})
	for name, disk := range map[string]Disk{"memory": {FS: &vfs.Memory{}, Dir: "d"}, "direct": {Dir: b.TempDir(), Direct: true}, "buffered": {Dir: b.TempDir()}} {
		b.Run("disk/"+name, func(b *testing.B) {
			benchRecall(b, Config{Slots: 256, HostPages: 256, Disk: &disk}, columns, 64, false)
		})
	}
}

// smol is the shape of SmolLM2-135M: 30 layers of 3 heads, blocks of 16 KiB.
var smol = compute.Layout{Heads: 3, Dim: 64, Block: 64, Type: compute.KVBF16}

// decoder runs decode steps over a sequence of so many columns: each layer and
// head wants so many blocks, of which a few change from step to step.
type decoder struct {
	s    *Store
	q    *Sequence
	want [][][]int32 // by layer and head
	in   [][]bool
	rnd  *rand.Rand
	sum  byte
}

func newDecoder(tb testing.TB, cfg Config, columns, k int) *decoder {
	cfg.Layout, cfg.Layers, cfg.Workers = smol, 30, 16
	width := cfg.Layers * smol.Heads
	cfg.Blocks = width * (columns + 1)
	s := openTest(tb, cfg)
	q, err := s.NewSequence(SequenceOptions{Tokens: (columns + 1) * 64, NoShare: true})
	if err != nil {
		tb.Fatal(err)
	}
	tokens := ids(0, 64)
	for c := range columns {
		s.BeginStep()
		if err := q.Reserve(64); err != nil {
			tb.Fatal(err)
		}
		for layer := range cfg.Layers {
			t := compute.Tile{N: 1, Pos: c*64 + 63, Tables: q.Tables(layer), Tail: q.Tail(layer)}
			if err := q.Seal(context.Background(), t, layer); err != nil {
				tb.Fatal(err)
			}
		}
		q.Advance(tokens)
	}
	d := &decoder{s: s, q: q, want: make([][][]int32, cfg.Layers), rnd: rand.New(rand.NewPCG(1, 2))}
	for layer := range d.want {
		d.want[layer] = make([][]int32, smol.Heads)
		for h := range d.want[layer] {
			in := make([]bool, columns)
			for _, b := range d.rnd.Perm(columns)[:k] {
				in[b] = true
			}
			d.in = append(d.in, in)
			d.want[layer][h] = make([]int32, 0, columns)
		}
	}
	return d
}

// step is a decode step without a model: change of so many blocks of each head's
// choice, and the bytes of what is wanted are read, if they are asked for.
func (d *decoder) step(tb testing.TB, change int, read bool) {
	ctx := context.Background()
	d.s.BeginStep()
	for layer, want := range d.want {
		for h := range want {
			in := d.in[layer*len(want)+h]
			for range change {
				for { // one out, one in
					if i, j := d.rnd.IntN(len(in)), d.rnd.IntN(len(in)); in[i] && !in[j] {
						in[i], in[j] = false, true
						break
					}
				}
			}
			want[h] = want[h][:0]
			for b, chosen := range in {
				if chosen {
					want[h] = append(want[h], int32(b))
				}
			}
		}
		r := d.s.Recall(ctx, d.q, layer, want)
		for r.Next(ctx) {
			if !read {
				continue
			}
			for _, p := range r.Parts() {
				for _, slot := range p.Slots {
					d.sum ^= bytesum(d.s.cache.SlotData(slot))
				}
			}
		}
		r.Close()
		if err := r.Err(); err != nil {
			tb.Fatal(err)
		}
	}
}

// bytesum reads a block, about as fast as attention does.
func bytesum(b []byte) byte {
	w := unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), len(b)/8)
	var x, y, z, u uint64
	for i := 0; i+4 <= len(w); i += 4 {
		x, y, z, u = x^w[i], y^w[i+1], z^w[i+2], u^w[i+3]
	}
	return byte(x ^ y ^ z ^ u)
}

// BenchmarkDecode is the store's part of decode steps of SmolLM2-135M, the wanted
// blocks being read as attention reads them: everything resident, a quarter in
// slots and the rest in the host pool (copied and in place), and a quarter each in
// slots and pages over a disk.
func BenchmarkDecode(b *testing.B) {
	for _, size := range []struct{ columns, k, change int }{{128, 64, 3}, {512, 64, 3}, {512, 512, 0}} {
		width := 90 * (size.columns + 1)
		for _, c := range []struct {
			name string
			cfg  Config
		}{
			{"resident", Config{}},
			{"host", Config{Slots: width / 4, HostPages: width}},
			{"copied", Config{Slots: width / 4, HostPages: width, Copying: true}},
			{"disk", Config{Slots: width / 4, HostPages: width / 4, Disk: &Disk{Dir: b.TempDir(), Direct: true}}},
			{"cached", Config{Slots: width / 4, HostPages: width / 4, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d"}}},
		} {
			for _, read := range []bool{false, true} {
				b.Run(fmt.Sprintf("%d of %d/%s/read=%v", size.k, size.columns, c.name, read), func(b *testing.B) {
					d := newDecoder(b, c.cfg, size.columns, size.k)
					for range 4 {
						d.step(b, size.change, read)
					}
					before := d.s.Stats().Total
					for b.Loop() {
						d.step(b, size.change, read)
					}
					after := d.s.Stats().Total
					per := float64(b.N * 90 * size.k)
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/per, "ns/block")
					b.ReportMetric(float64(after.HostHits-before.HostHits)/per, "host/block")
					b.ReportMetric(float64(after.DiskHits-before.DiskHits)/per, "disk/block")
					b.ReportMetric(float64(after.Wait-before.Wait)/float64(b.Elapsed()), "waiting")
					d.q.Free()
					closeTest(b, d.s)
				})
			}
		}
	}
}

// BenchmarkCopy is what one goroutine copies when it does nothing else: 32 KiB
// blocks out of 64 MiB into 8 MiB. Recalls from the host pool are held against it.
func BenchmarkCopy(b *testing.B) {
	const size, from, to = 32 << 10, 2048, 256
	src, err := newArena(from * size)
	if err != nil {
		b.Fatal(err)
	}
	for i := range src {
		src[i] = byte(i)
	}
	dst := make([]byte, to*size)
	b.SetBytes(size)
	i := 0
	for b.Loop() {
		copy(dst[i%to*size:][:size], src[i%from*size:][:size])
		i++
	}
	if err := freeArena(src); err != nil {
		b.Fatal(err)
	}
}
