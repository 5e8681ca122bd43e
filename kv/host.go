package kv

import (
	"cmp"
	"slices"

	"nosa/compute"
)

// host is the host pool: one arena off the Go heap, in pages of one block. It
// knows which block a page is for and in what order pages go; a page's bytes
// never change while its block lives.
//
// Pages are wanted layer by layer, the same ones in most steps. The order of last
// use alone would be the worst one there: with one page too few, each goes just
// before it is wanted again. So the order is
//
//	spare    blocks that have a slot as well
//	cold     not used in this step nor in the one before: least recent first, ties by id
//	passed   used in layers that are behind in this step: the latest first, since
//	         those of the first layers are wanted next
//	others   only for what is wanted now: first those of this layer, the latest first
type host struct {
	arena  []byte
	from   compute.HostAllocator // of the arena; nil: the system
	stride int                   // from page to page: as long as a record
	size   int                   // of a block

	block []int32 // by page: the block it is for, or −1
	used  []int64 // by page: the step of its last use, or spare
	pins  []int32 // by page: transfers, rounds and seats that use it
	sat   []int32 // by page: of them, seats
	saves bool    // pages that are only sat on are written to disk as others are
	clean []bool  // by page: its block has a record, so that it can go at once
	free  []int32 // pages of no block, taken from the end
	idle  int     // clean pages without pins

	// Pages whose blocks have no record, by use: to be written first. It may lag
	// behind used, and list pages with pins.
	dirty *compute.Order

	step  int64
	layer int // that is being worked on

	// Clean pages in the order in which they go. What is listed may have come to
	// something else since: see still.
	spares []int32 // pages of blocks that have a slot; the last goes first
	spared []bool  // by page: whether it is listed there
	cold   []visit // the first goes first; of this step
	coldAt int     // of them, those that have gone
	sought bool    // whether cold has been made in this step
	passed []visit // the last goes first
	before int     // of passed, those of the step before
	fresh  []visit // used in the layer that is being worked on
	rest   []visit // when there is nothing else: the first goes first
	restAt int     // of them, those that have gone
	listed []int64 // by page: the last step in which it came to fresh
}

// visit is a use of a page.
type visit struct {
	page, id int32
	step     int64
}

// spare, as time of last use, is that of a page whose block is in a slot too.
const spare = -1

// newHost takes the arena from a device that has memory for it, if one is given.
func newHost(pages, stride, size int, from compute.HostAllocator) (h *host, err error) {
	h = &host{
		from: from, stride: stride, size: size,
		block:  make([]int32, pages),
		used:   make([]int64, pages),
		pins:   make([]int32, pages),
		sat:    make([]int32, pages),
		clean:  make([]bool, pages),
		free:   make([]int32, pages),
		spared: make([]bool, pages),
		listed: make([]int64, pages),
		dirty:  compute.NewOrder(pages),
		layer:  -1,
	}
	if from != nil {
		h.arena, err = from.AllocHost(pages * stride)
	} else {
		h.arena, err = newArena(pages * stride)
	}
	if err != nil {
		return nil, err
	}
	for i := range h.block {
		h.block[i] = -1
		h.listed[i] = -1
		h.free[i] = int32(pages - 1 - i)
	}
	return h, nil
}

// bytes is a page's block.
func (h *host) bytes(page int32) []byte { return h.record(page)[:h.size:h.size] }

// record is a page with the padding that goes to disk with it.
func (h *host) record(page int32) []byte {
	at := int(page) * h.stride
	return h.arena[at : at+h.stride : at+h.stride]
}

// begin begins a step.
func (h *host) begin(step int64) {
	h.enter(-1)
	h.passed = slices.Delete(h.passed, 0, h.before) // of the step before the last
	h.before = len(h.passed)
	h.step, h.sought = step, false
	h.cold, h.coldAt, h.rest, h.restAt = h.cold[:0], 0, h.rest[:0], 0
}

// enter says which layer is worked on now: the one before is behind.
func (h *host) enter(layer int) {
	if layer == h.layer {
		return
	}
	if len(h.passed)+len(h.fresh) > 4*len(h.block)+64 { // pages went from block to block within steps
		old := len(h.current(h.passed[:h.before]))
		now := h.current(h.passed[h.before:])
		h.passed, h.before = append(h.passed[:old], now...), old
	}
	h.passed = append(h.passed, h.fresh...)
	h.fresh = h.fresh[:0]
	h.layer = layer
}

// take finds a page: a free one, or one whose block has a record. It returns the
// block that has lost its page, or −1; no page: −1. Without need it takes only
// what is not wanted soon.
func (h *host) take(need bool) (page, old int32) {
	if n := len(h.free); n > 0 {
		page = h.free[n-1]
		h.free = h.free[:n-1]
		return page, -1
	}
	if page = h.victim(need); page < 0 {
		return -1, -1
	}
	old = h.block[page]
	h.block[page], h.clean[page] = -1, false
	h.idle--
	return page, old
}

// still reports whether a page can go as it was listed.
func (h *host) still(v visit) bool {
	return h.block[v.page] == v.id && h.used[v.page] == v.step && h.pins[v.page] == 0 && h.clean[v.page]
}

// current keeps those of a list that are as they were listed: one a page at most.
func (h *host) current(l []visit) []visit {
	return slices.DeleteFunc(l, func(v visit) bool { return h.block[v.page] != v.id || h.used[v.page] != v.step })
}

// victim is the page that goes next, or −1.
func (h *host) victim(need bool) int32 {
	if h.idle == 0 {
		return -1
	}
	for len(h.spares) > 0 {
		page := h.spares[len(h.spares)-1]
		h.spares = h.spares[:len(h.spares)-1]
		h.spared[page] = false
		if h.used[page] == spare && h.clean[page] && h.pins[page] == 0 {
			return page
		}
	}
	if !h.sought {
		h.sought = true
		h.cold = h.list(h.cold[:0], h.step-1)
	}
	for h.coldAt < len(h.cold) {
		h.coldAt++
		if v := h.cold[h.coldAt-1]; h.still(v) {
			return v.page
		}
	}
	page := h.last(&h.passed)
	h.before = min(h.before, len(h.passed))
	if page >= 0 || !need {
		return page
	}
	if page = h.last(&h.fresh); page >= 0 {
		return page
	}
	for {
		for h.restAt < len(h.rest) {
			h.restAt++
			if v := h.rest[h.restAt-1]; h.still(v) {
				return v.page
			}
		}
		h.rest, h.restAt = h.list(h.rest[:0], anyTime), 0
	}
}

// anyTime is a step that every use lies before.
const anyTime = 1<<63 - 1

// last takes the last page of a list that can still go, or −1.
func (h *host) last(l *[]visit) int32 {
	for n := len(*l); n > 0; n-- {
		if v := (*l)[n-1]; h.still(v) {
			*l = (*l)[:n-1]
			return v.page
		}
	}
	*l = (*l)[:0]
	return -1
}

// list appends the pages that can go and were last used before a step, by use.
func (h *host) list(to []visit, before int64) []visit {
	for p, used := range h.used {
		if used < before && h.clean[p] && h.pins[p] == 0 {
			to = append(to, visit{int32(p), h.block[p], used})
		}
	}
	slices.SortFunc(to, func(a, b visit) int {
		if c := cmp.Compare(a.step, b.step); c != 0 {
			return c
		}
		return cmp.Compare(a.id, b.id)
	})
	return to
}

// give says which block a taken page is for.
func (h *host) give(page, id int32) {
	h.block[page], h.listed[page] = id, spare
}

// pin keeps a page where it is for one more transfer or round, and renews its
// use.
func (h *host) pin(page int32) {
	h.used[page] = h.step
	h.hold(page)
}

// hold pins a page without renewing its use: to be written to disk is not to be
// wanted.
func (h *host) hold(page int32) {
	if h.pins[page]++; h.pins[page] == 1 && h.clean[page] {
		h.idle--
	}
}

// unpin takes one pin back. With the last one the page may go again.
func (h *host) unpin(page int32, recorded bool) {
	h.clean[page] = recorded
	h.pins[page]--
	switch {
	case h.pins[page] > h.resting(page):
		return
	case !recorded:
		if !h.dirty.Has(page) || h.dirty.Time(page) > h.used[page] {
			h.dirty.Put(page, h.block[page], h.used[page])
		}
		return
	case h.pins[page] > 0:
		h.dirty.Remove(page)
		return
	case h.used[page] == spare:
		if !h.spared[page] {
			h.spared[page] = true
			h.spares = append(h.spares, page)
		}
	case h.sought && h.used[page] < h.step-1:
		h.cold = append(h.cold, visit{page, h.block[page], h.used[page]})
	}
	h.dirty.Remove(page)
	h.idle++
}

// sit pins a page for a seat; stand takes that back.
func (h *host) sit(page int32) {
	h.sat[page]++
	h.pin(page)
}

func (h *host) stand(page int32, recorded bool) {
	h.sat[page]--
	h.unpin(page, recorded)
}

// filled notes that a step has written a block to a page that a seat keeps.
func (h *host) filled(page int32) {
	h.pin(page)
	h.unpin(page, false)
}

// resting is how many pins of a page do not keep it from being written to disk.
func (h *host) resting(page int32) int32 {
	if h.saves {
		return h.sat[page]
	}
	return 0
}

// pass notes that a round has used a page.
func (h *host) pass(page int32) {
	if h.listed[page] != h.step {
		h.listed[page] = h.step
		if len(h.fresh) > 2*len(h.block)+64 {
			h.fresh = h.current(h.fresh)
		}
		h.fresh = append(h.fresh, visit{page, h.block[page], h.step})
	}
}

// spare says, before the last pin is taken back, that the block in a page has a
// slot as well; keep, that it has it no longer.
func (h *host) spare(page int32) { h.used[page] = spare }

func (h *host) keep(page int32) {
	if h.used[page] == spare {
		h.used[page] = max(0, h.step-2)
	}
}

// write is the page that should go to disk next, or −1.
func (h *host) write() int32 {
	for {
		p := h.dirty.First()
		switch {
		case p < 0:
			return -1
		case h.pins[p] > h.resting(p):
			h.dirty.Remove(p) // comes back with its last pin
		case h.dirty.Time(p) != h.used[p]:
			h.dirty.Put(p, h.block[p], h.used[p])
		default:
			return p
		}
	}
}

// release makes a page free. Pins that are left are of rounds that have no use
// for it any more.
func (h *host) release(page int32) {
	if h.clean[page] && h.pins[page] == 0 {
		h.idle--
	}
	h.pins[page], h.sat[page], h.clean[page] = 0, 0, false
	h.dirty.Remove(page)
	h.block[page] = -1
	h.free = append(h.free, page)
}

func (h *host) close() error {
	if h.from != nil {
		return h.from.FreeHost(h.arena)
	}
	return freeArena(h.arena)
}
