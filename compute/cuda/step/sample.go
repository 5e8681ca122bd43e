//go:build linux && amd64

package step

import (
	"slices"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// The numbers of sample.cu.
const (
	sampleChunks = 2048
	sampleParts  = 32
	sampleHead   = sampleParts + 1 // of 8 bytes: parts of the weight, how many keys there are
)

// sampling is what draws are told of rows of logits.
type sampling struct {
	chunks, largest, weights driver.Function

	asks compute.Tensor // I32 [rows, 2]: compute.Ask
	most compute.Tensor // F32 [rows, sampleChunks]
	out  compute.Tensor // I32 [rows, 2 · (sampleHead + compute.MostPeak)]; as many rows and keys as are asked for
	host []byte         // pinned: what comes of out

	asked   []compute.Ask // of the last step
	keys    int           // most of a row of it
	weighed bool          // any of its rows
}

// sampleArgs is the struct of sample.cu.
type sampleArgs struct {
	logits, asks, most, out    uintptr
	vocab, chunk, chunks, keys int32
}

func (s *sampling) buffers(rows int) []buffer {
	return []buffer{
		{&s.asks, compute.Describe(dtype.I32, rows, 2)},
		{&s.most, compute.Describe(dtype.F32, rows, sampleChunks)},
		{&s.out, compute.Describe(dtype.I32, rows, 2*(sampleHead+compute.MostPeak))},
	}
}

func (s *sampling) load(g *gpu) error {
	return g.load("sample", map[string]*driver.Function{"sample_chunks": &s.chunks, "sample_keys": &s.largest, "sample_weights": &s.weights})
}

// open takes the host's memory, when the device's is there.
func (s *sampling) open(g *gpu) (err error) {
	s.host, err = g.ctx.AllocHost(s.out.Bytes())
	return err
}

func (s *sampling) close(g *gpu) (err error) {
	if s.host != nil {
		err = g.ctx.FreeHost(s.host)
		s.host = nil
	}
	return err
}

// ask takes the asks of a step's rows.
func (s *sampling) ask(rows []compute.StepRow) {
	s.asked, s.keys, s.weighed = s.asked[:0], 0, false
	for _, r := range rows {
		a := r.Ask
		a.Most = min(a.Most, compute.MostPeak)
		s.asked, s.keys = append(s.asked, a), max(s.keys, int(a.Most))
		s.weighed = s.weighed || a.Most > 0 && a.Temperature > 0
	}
}

// post posts what answers them, and its way to the host.
func (s *sampling) post(d *cuda.Device, g *gpu, logits compute.Tensor) {
	n := len(s.asked)
	if s.keys == 0 {
		return
	}
	d.Upload(s.asks, bytesOf(s.asked))
	vocab := logits.Dims[1]
	chunk := 32 * ceil(vocab, 32*sampleChunks)
	chunks := ceil(vocab, chunk)
	a := sampleArgs{logits.Addr, s.asks.Addr, s.most.Addr, s.out.Addr, int32(vocab), int32(chunk), int32(chunks), int32(s.keys)}
	launch(g, s.chunks, driver.Dim{X: ceil(chunks, 64), Y: n, Z: 1}, 256, 0, &a)
	launch(g, s.largest, line(n), 1024, 0, &a)
	if s.weighed {
		launchEarly(g, s.weights, driver.Dim{X: sampleParts, Y: n, Z: 1}, 256, 0, &a)
	}
	g.ctx.CopyOut(g.stream, addressOf(s.host), s.out.Addr, 8*n*(sampleHead+s.keys))
}

// peak is what came of a row's ask.
func (s *sampling) peak(row int) (p compute.Peak) {
	a := s.asked[row]
	if a.Most == 0 {
		return p
	}
	all := unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(s.host))), len(s.host)/8)[row*(sampleHead+s.keys):]
	p.Keys = slices.Clip(all[sampleHead:][:all[sampleParts]])
	if a.Temperature > 0 && len(p.Keys) > 0 {
		for _, w := range unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(all))), sampleParts) {
			p.Weight += w
		}
	}
	return p
}
