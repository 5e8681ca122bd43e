package engine

import (
	"errors"
	"fmt"
	"math"

	"nosa/attention"
	"nosa/kv"
	"nosa/model"
)

// Plan says what a model with its KV cache will take, before anything of it is
// allocated.
type Plan struct {
	Context  int    `json:"context"`
	Method   string `json:"attention"`
	Blocks   int    `json:"blocks"`              // of all sequences, over layers and KV heads
	Spares   int    `json:"spare_ids,omitempty"` // beside them, for those that a policy rewrites
	Slots    int    `json:"slots"`               // of them in the device pool at a time
	Pages    int    `json:"host_pages"`          // in the host pool
	Records  int    `json:"disk_records"`
	BlockLen int64  `json:"block_bytes"`

	// Of a device that decodes by itself: see steps.plan. StepSlots are beside Slots.
	StepRows  int `json:"step_rows,omitempty"`
	StepSlots int `json:"step_slots,omitempty"`
	Seats     int `json:"step_seats,omitempty"`

	Weights   int64 `json:"weights_bytes"`
	SlotBytes int64 `json:"slots_bytes"`
	Tails     int64 `json:"tails_bytes"`
	Summaries int64 `json:"summaries_bytes"`
	Tables    int64 `json:"tables_bytes"`           // block tables and the order of slots
	Step      int64 `json:"step_bytes"`             // activations, logits, scratch
	Policy    int64 `json:"policy_bytes,omitempty"` // what a policy knows of its sequences
	Host      int64 `json:"host_bytes"`
	Disk      int64 `json:"disk_bytes"`
	Memory    int64 `json:"memory_bytes"`    // all of the above but the disk
	Available int64 `json:"available_bytes"` // what the process may take; 0: unknown

	// Of a device with memory of its own: weights, slots, tails, summaries and steps, which
	// are no part of Memory then, and what it has free.
	Device     int64 `json:"device_bytes,omitempty"`
	DeviceFree int64 `json:"device_free_bytes,omitempty"`
}

// ErrPlan is returned when the settings do not fit into memory or contradict
// each other; its text names the number to change.
var ErrPlan = errors.New("does not fit")

// minHost is the least host pool, in blocks, that is proposed above a disk:
// transfers pass through it.
const minHost = 64

// wayBytes is the host pool through which blocks go to a disk that is not needed for
// room.
const wayBytes = 64 << 20

// rows is the largest number of rows of a step.
func (s *settings) rows() int { return max(s.Chunk, s.Seats) }

// logitRows is how many rows of logits are held at a time.
func (s *settings) logitRows() int { return min(logitRows, s.rows()) }

func sequences(n int) string {
	if n == 1 {
		return "one sequence"
	}
	return fmt.Sprintf("%d sequences", n)
}

// Sizes that the plan adds without knowing the rooms in detail.
const (
	stepSlack = 48 << 20 // expanded panels of weights, threads' stacks, the Go runtime
	logitRows = 64       // rows of logits that are held at a time
)

// plan fits the settings, or refuses them with proposals that do fit.
func plan(c *model.Config, s *settings, weights, available int64) (*Plan, error) {
	p, err := fit(c, s, weights, available)
	var no *refusal
	if errors.As(err, &no) {
		return nil, no.propose(s, func(t *settings) error {
			_, err := fit(c, t, weights, available)
			return err
		})
	}
	return p, err
}

// fit is plan without proposals: a *refusal says what does not fit.
func fit(c *model.Config, s *settings, weights, available int64) (*Plan, error) {
	l := s.layout
	heads := int64(c.Layers * c.KVHeads)
	blocks := int64((s.Context+l.Block-1)/l.Block) * heads * int64(s.Sequences)
	if blocks >= math.MaxInt32 {
		return nil, refuse("--context %d makes %d blocks in %d sequences, more than can be numbered", s.Context, blocks, s.Sequences)
	}
	weights, packed, err := s.packing.bytes(weights, s.rows())
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Context: s.Context, Method: s.method.Name(), Blocks: int(blocks), BlockLen: int64(l.BlockBytes()), Weights: weights,
		Step:      c.WorkspaceBytes(s.rows(), s.logitRows(), packed) + attention.ScratchBytes(s.method, s.constants, l, c.Heads, s.Context, s.free > 0) + stepSlack,
		Available: available, DeviceFree: s.free,
	}
	// The parts that do not depend on budgets, by the store's own account.
	p.Spares, p.Policy = s.policy.plan(p, s)
	resident := kv.Config{Layout: l, Layers: c.Layers, Blocks: p.Blocks, Spares: p.Spares}
	f, err := resident.Footprint()
	if err != nil {
		return nil, err
	}
	p.Tails, p.Summaries, p.Tables = f.Tails*int64(s.Seats), f.Summaries, f.Maps
	if err := p.device(s, blocks); err != nil {
		return nil, err
	}
	if int64(p.Slots) < blocks || s.DiskLast {
		if err := p.below(s, blocks); err != nil {
			return nil, err
		}
	} else if s.KVDevice == 0 && (s.DiskDir != "" || s.KVHost > 0) {
		return nil, refuse("--kv-host or --kv-disk without --kv-device: every block has a place on the device, so nothing would reach them").or(p.selection(s))
	}
	if err := s.steps.plan(p, s, p.Pages > 0); err != nil {
		return nil, err
	}
	if f, err = p.store(c, s, nil).Footprint(); err != nil {
		return nil, err
	}
	p.SlotBytes, p.Tables, p.Host, p.Disk = f.Slots, f.Maps, f.Host, f.Disk
	p.Memory = p.Weights + p.SlotBytes + p.Tails + p.Summaries + p.Tables + p.Step + p.Policy + p.Host
	if s.free > 0 {
		p.Memory = p.Tables + p.Policy + stepSlack + p.Host
		p.Device = p.Weights + p.SlotBytes + p.Tails + p.Summaries + p.Step
		if p.Device > s.free {
			return nil, p.tooMuchOnDevice(s)
		}
	}
	if available > 0 && p.Memory > available {
		return nil, p.tooMuch(s)
	}
	return p, nil
}

// beside is what the process takes beside the host pool.
func (p *Plan) beside() int64 {
	if p.DeviceFree > 0 {
		return p.Tables + p.Policy + stepSlack
	}
	return p.Weights + p.SlotBytes + p.Tails + p.Summaries + p.Tables + p.Step + p.Policy
}

// store is the configuration of the block store that the plan describes.
func (p *Plan) store(c *model.Config, s *settings, identity []byte) kv.Config {
	cfg := kv.Config{
		Layout: s.layout, Layers: c.Layers, Blocks: p.Blocks, Spares: p.Spares, Slots: p.Slots, HostPages: p.Pages, Keep: s.Keep, Retain: s.Retain, Timeout: s.Timeout, Identity: identity,
		Seats: p.Seats, StepSlots: p.StepSlots,
	}
	if p.Records > 0 {
		cfg.Disk = &kv.Disk{FS: s.DiskFS, Dir: s.DiskDir, Records: p.Records, Direct: true, Lasts: s.DiskLast}
	}
	return cfg
}

// device sizes the slot pool.
func (p *Plan) device(s *settings, blocks int64) error {
	p.Slots = int(blocks)
	if s.KVDevice != 0 {
		n := (s.KVDevice - p.Tails) / p.BlockLen
		if n < 1 {
			return refuse("--kv-device %s: the open blocks of %s take %s and a slot %s", Size(s.KVDevice), sequences(s.Seats), Size(p.Tails), Size(p.BlockLen)).or(p.selection(s))
		}
		p.Slots = int(min(n, blocks))
	}
	p.SlotBytes = int64(p.Slots) * p.BlockLen
	return nil
}

// below sizes the tiers under the slots: all full blocks must have a home.
func (p *Plan) below(s *settings, blocks int64) error {
	layout := kv.Config{Layout: s.layout}
	if s.DiskDir != "" {
		layout.Disk = &kv.Disk{Direct: true}
	}
	page := int64(layout.RecordBytes())
	pages := blocks
	switch {
	case s.KVHost > 0:
		pages = min(blocks, s.KVHost/page)
	case s.DiskDir != "" && int64(p.Slots) == blocks && s.steps == nil: // nothing is read there: it is the way to the disk
		pages = min(blocks, max(minHost, wayBytes/page))
	case s.DiskDir != "" && p.Available > 0:
		free := p.Available - p.beside()
		pages = min(blocks, max(minHost, free/2/page))
	}
	if s.DiskDir == "" && pages < blocks {
		return refuse("--kv-host %s holds %d of %d blocks", Size(s.KVHost), pages, blocks).or(hostOf(blocks * page)).or(diskBelow)
	}
	if pages < 1 {
		return refuse("--kv-host %s is less than one block of %s, and blocks on their way to the disk pass through it", Size(s.KVHost), Size(page)).or(hostOf(minHost * page))
	}
	p.Pages = int(pages)
	if s.DiskDir == "" || pages == blocks && !s.DiskLast {
		return nil
	}
	records := blocks
	if s.DiskSize > 0 {
		records = min(blocks, s.DiskSize/page)
		// One page stays free for what is on its way.
		if records+pages-1 < blocks {
			return refuse("--kv-disk %s:%s and --kv-host %s hold %d of %d blocks", s.DiskDir, Size(s.DiskSize), Size(pages*page), records+pages-1, blocks).or(diskOf(s, (blocks-pages+1)*page))
		}
	}
	p.Records = int(records)
	return nil
}

// Size writes a number of bytes as --kv-device reads it.
func Size(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			v := float64(n) / float64(u.size)
			if v == math.Trunc(v) {
				return fmt.Sprintf("%d%s", int64(v), u.name)
			}
			return fmt.Sprintf("%.1f%s", v, u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}
