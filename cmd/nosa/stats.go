package main

import (
	"fmt"
	"time"

	"nosa/engine"
	"nosa/kv"
)

// layerJSON is what a layer of the cache did, in the names of --json.
type layerJSON struct {
	Selected      int64   `json:"selected"`
	Hits          int64   `json:"hits"`
	HostHits      int64   `json:"host_hits"`
	DiskHits      int64   `json:"disk_hits"`
	HitRate       float64 `json:"hit_rate"`
	BytesUp       int64   `json:"bytes_up"`
	BytesDown     int64   `json:"bytes_down"`
	BytesToDisk   int64   `json:"bytes_to_disk"`
	BytesFromDisk int64   `json:"bytes_from_disk"`
	WaitSeconds   float64 `json:"wait_seconds"`
	Evicted       int64   `json:"evicted"`
	Spilled       int64   `json:"spilled"`
}

func layerOf(l kv.LayerStats) layerJSON {
	return layerJSON{
		Selected: l.Selected, Hits: l.Hits, HostHits: l.HostHits, DiskHits: l.DiskHits, HitRate: l.HitRate(),
		BytesUp: l.BytesUp, BytesDown: l.BytesDown, BytesToDisk: l.BytesToDisk, BytesFromDisk: l.BytesFromDisk,
		WaitSeconds: l.Wait.Seconds(), Evicted: l.Evicted, Spilled: l.Spilled,
	}
}

// statsJSON is the "stats" object of --json.
func statsJSON(s kv.Stats, p *engine.Plan) map[string]any {
	layers := make([]layerJSON, len(s.Layers))
	for i, l := range s.Layers {
		layers[i] = layerOf(l)
	}
	return map[string]any{
		"total": layerOf(s.Total), "layers": layers, "plan": p,
		"blocks": map[string]any{"live": s.Live, "in_slots": s.InSlot, "in_host": s.InHost, "on_disk": s.OnDisk},
	}
}

func usageJSON(u engine.Usage) map[string]any {
	return map[string]any{
		"prompt_tokens": u.Prompt, "completion_tokens": u.Completion, "total_tokens": u.Prompt + u.Completion, "cached_tokens": u.Shared,
		"prefill_seconds": u.Prefill.Seconds(), "decode_seconds": u.Decode.Seconds(),
	}
}

// planLine is the plan in a line.
func planLine(p *engine.Plan, device string) string {
	s := fmt.Sprintf("%s; attention %s; weights %s; KV of %d tokens: %s in slots", device, p.Method, engine.Size(p.Weights), p.Context, engine.Size(p.SlotBytes))
	if slots := p.Slots + p.StepSlots; slots < p.Blocks {
		s += fmt.Sprintf(" (%.0f%%)", 100*float64(slots)/float64(p.Blocks))
	}
	if p.Host > 0 {
		s += ", " + engine.Size(p.Host) + " in the host pool"
	}
	if p.Disk > 0 {
		s += ", up to " + engine.Size(p.Disk) + " on disk"
	}
	if p.Device > 0 {
		return s + "; " + engine.Size(p.Device) + " of the device's memory in all, " + engine.Size(p.Memory) + " of the host's"
	}
	return s + "; " + engine.Size(p.Memory) + " of memory in all"
}

// liveStats is what the tiers do, short enough for a bar: nothing where all is
// resident. It looks twice a second, since looking walks over all blocks.
type liveStats struct {
	e    *engine.Engine
	at   time.Time
	text string
}

func (l *liveStats) note() string {
	p := l.e.Plan()
	if p.Slots+p.StepSlots >= p.Blocks || time.Since(l.at) < time.Second/2 {
		return l.text
	}
	s := l.e.Store().Stats()
	l.at = time.Now()
	if s.Live == 0 {
		return l.text
	}
	l.text = fmt.Sprintf("slots %.0f%%", 100*float64(s.InSlot)/float64(s.Live))
	if s.OnDisk > 0 {
		l.text += fmt.Sprintf(", disk %.0f%%", 100*float64(s.OnDisk)/float64(s.Live))
	}
	l.text += fmt.Sprintf(", hits %.0f%%", 100*s.Total.HitRate())
	return l.text
}

// writeStats prints a table per tier, then the layers with the most and the
// fewest hits.
func writeStats(w *Output, s kv.Stats, p *engine.Plan) {
	t := s.Total
	share := func(n int64) string {
		if t.Selected == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f%%", 100*float64(n)/float64(t.Selected))
	}
	tb := newTable("tier", "places", "blocks held", "of selections", "bytes in", "bytes out")
	tb.row("device", fmt.Sprint(p.Slots), fmt.Sprint(s.InSlot), share(t.Hits), engine.Size(t.BytesUp), engine.Size(t.BytesDown))
	if p.Pages > 0 {
		tb.row("host", fmt.Sprint(p.Pages), fmt.Sprint(s.InHost), share(t.HostHits), engine.Size(t.BytesDown+t.BytesFromDisk), engine.Size(t.BytesUp+t.BytesToDisk))
	}
	if p.Records > 0 {
		tb.row("disk", fmt.Sprint(p.Records), fmt.Sprint(s.OnDisk), share(t.DiskHits), engine.Size(t.BytesToDisk), engine.Size(t.BytesFromDisk))
	}
	w.Printf("\n%d blocks of %s live; %d selected, waited %s for transfers\n", s.Live, engine.Size(p.BlockLen), t.Selected, t.Wait.Round(time.Millisecond))
	tb.write(w)
	if len(s.Layers) == 0 || t.Misses() == 0 {
		return
	}
	best, worst := 0, 0
	for i, l := range s.Layers {
		if l.HitRate() > s.Layers[best].HitRate() {
			best = i
		}
		if l.HitRate() < s.Layers[worst].HitRate() {
			worst = i
		}
	}
	w.Printf("hit rate %.2f%%: best layer %d with %.2f%%, worst layer %d with %.2f%%\n",
		100*t.HitRate(), best, 100*s.Layers[best].HitRate(), worst, 100*s.Layers[worst].HitRate())
}
