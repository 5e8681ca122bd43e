package kv

import (
	"context"
	"fmt"
	"testing"

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
