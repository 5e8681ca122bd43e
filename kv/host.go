package kv

import (
	"math"

	"nosa/compute"
)

// host is the host pool: one arena off the Go heap, in pages of one block. It
// knows which block a page is for and in what order pages go; a page's bytes
// never change while its block lives.
type host struct {
	arena  []byte
	stride int // from page to page: as long as a record
	size   int // of a block

	block []int32 // by page: the block it is for, or −1
	used  []int64 // by page: the step of its last use
	pins  []int32 // by page: transfers that use it
	free  []int32 // pages of no block, taken from the end

	// Pages without pins, the coldest first. Blocks in clean ones have a record
	// and can go at once; those in dirty ones must be written first.
	clean, dirty *compute.Order
}

func newHost(pages, stride, size int) (*host, error) {
	arena, err := newArena(pages * stride)
	if err != nil {
		return nil, err
	}
	h := &host{
		arena: arena, stride: stride, size: size,
		block: make([]int32, pages),
		used:  make([]int64, pages),
		pins:  make([]int32, pages),
		free:  make([]int32, pages),
		clean: compute.NewOrder(pages),
		dirty: compute.NewOrder(pages),
	}
	for i := range h.block {
		h.block[i] = -1
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

// take finds a page: a free one, or that of the coldest block that has a record
// and was last used before the given step. It returns the block that has lost
// its page, or −1; no page: −1.
func (h *host) take(before int64) (page, old int32) {
	if n := len(h.free); n > 0 {
		page = h.free[n-1]
		h.free = h.free[:n-1]
		return page, -1
	}
	page = h.clean.First()
	if page < 0 || h.used[page] >= before {
		return -1, -1
	}
	h.clean.Remove(page)
	old = h.block[page]
	h.block[page] = -1
	return page, old
}

// anyTime is the bound for take that lets every clean page go.
const anyTime = math.MaxInt64

// give says which block a taken page is for.
func (h *host) give(page, id int32) { h.block[page] = id }

// pin keeps a page where it is for one more transfer, and renews its use.
func (h *host) pin(page int32, step int64) {
	h.used[page] = step
	h.hold(page)
}

// hold pins a page without renewing its use: to be written to disk is not to be
// wanted.
func (h *host) hold(page int32) {
	h.pins[page]++
	h.clean.Remove(page)
	h.dirty.Remove(page)
}

// unpin takes one pin back. With the last one the page may go again.
func (h *host) unpin(page int32, recorded bool) {
	if h.pins[page]--; h.pins[page] > 0 {
		return
	}
	if recorded {
		h.clean.Put(page, h.block[page], h.used[page])
	} else {
		h.dirty.Put(page, h.block[page], h.used[page])
	}
}

// release makes a page without pins free.
func (h *host) release(page int32) {
	h.clean.Remove(page)
	h.dirty.Remove(page)
	h.block[page] = -1
	h.free = append(h.free, page)
}

func (h *host) close() error { return freeArena(h.arena) }
