package cpu

import (
	"fmt"
	"sync"
	"unsafe"

	"nosa/compute"
	"nosa/dtype"
)

// packed is a weight in panels.
type packed struct {
	format  dtype.Type
	n, k    int // outputs, and activations of each
	data    []byte
	holders int // calls of Load without their Free
}

// packedStore finds the packed form of a weight by its file's first byte.
type packedStore struct {
	mu  sync.RWMutex
	all map[*byte]*packed
}

// find returns the packed form of a weight, or of one that it is the beginning of.
func (s *packedStore) find(w compute.Tensor) *packed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.all[unsafe.SliceData(w.Data)]
	if p == nil || p.format != w.Type || p.k != w.Stride() || p.n < w.Dims[0] {
		return nil
	}
	return p
}

// put sets what stands for an address, and returns what stood there before: of a
// weight that is loaded twice the last one counts, until both are freed.
func (s *packedStore) put(first *byte, p *packed) *packed {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.all[first]
	if p.holders = 1; old != nil {
		p.holders += old.holders
	}
	if s.all == nil {
		s.all = map[*byte]*packed{}
	}
	s.all[first] = p
	return old
}

// drop takes one holder from what stands for an address, or all, and returns what is
// not held any more.
func (s *packedStore) drop(first *byte, all bool) *packed {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.all[first]
	if p == nil {
		return nil
	}
	if p.holders--; p.holders > 0 && !all {
		return nil
	}
	delete(s.all, first)
	return p
}

// packable says whether a weight is multiplied in integers.
func (d *Device) packable(t dtype.Type, k int) bool {
	return d.numerics != compute.NumericsF32 && t.Quantised() && k > 0 && k%t.Block() == 0
}

// PackedBytes is the memory that Load takes for a weight [n, k] beside its mapped
// file, of which Embed alone reads more: nothing for formats that are not packed.
func (d *Device) PackedBytes(t dtype.Type, n, k int) int64 {
	if !d.packable(t, k) {
		return 0
	}
	return int64((n+panelOutputs-1)/panelOutputs) * int64(packings[t].panel(k/groupLen))
}

// Load makes a weight readable where it lies, and lays it out anew for products in
// integers. The copy is found by the address of data, which must stay as it is until
// Free, which every Load is to be followed by.
func (d *Device) Load(t dtype.Type, data []byte, shape ...int) (compute.Tensor, error) {
	x := compute.NewTensor(t, data, shape...)
	n, k := x.Dims[0], x.Stride()
	if n == 0 || !d.packable(t, k) {
		return x, nil
	}
	layout := packings[t]
	panels := (n + panelOutputs - 1) / panelOutputs
	if layout.panel(k/groupLen) > maxPacked/panels {
		return compute.Tensor{}, fmt.Errorf("cpu: packing %v %v: %w", t, shape, ErrMemory)
	}
	room, err := d.memory.alloc(panels * layout.panel(k/groupLen))
	if err != nil {
		return compute.Tensor{}, fmt.Errorf("cpu: packing %v %v: %w", t, shape, err)
	}
	job := &packJob{layout: layout, dst: room, src: data, n: n, groups: k / groupLen, rowBytes: len(data) / n}
	job.step = max(1, (64<<10)/layout.panel(job.groups))
	d.team.do(job, (panels+job.step-1)/job.step)
	forgetMapped(data)
	d.forget(d.packed.put(unsafe.SliceData(data), &packed{format: t, n: n, k: k, data: room}))
	return x, nil
}

const maxPacked = 1 << 46

// forget gives packed memory back.
func (d *Device) forget(p *packed) {
	if p != nil {
		d.memory.free(p.data)
	}
}

// packJob is the task of Load; a piece is a run of panels.
type packJob struct {
	layout      *packing
	dst, src    []byte
	n, rowBytes int
	groups      int
	step        int // panels of a piece
}

func (j *packJob) run(_ *worker, piece int) {
	size := j.layout.panel(j.groups)
	for p := piece * j.step; p < (piece+1)*j.step && p*panelOutputs < j.n; p++ {
		n := min(panelOutputs, j.n-p*panelOutputs)
		src := j.src[p*panelOutputs*j.rowBytes:][:n*j.rowBytes]
		j.layout.pack(j.dst[p*size:(p+1)*size], src, j.rowBytes, n, j.groups)
	}
}
