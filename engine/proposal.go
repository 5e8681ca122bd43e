package engine

import (
	"errors"
	"fmt"
	"strings"
)

// refusal says what of a plan does not fit, with changes that may help.
type refusal struct {
	what    string
	changes []change
}

// change is a proposal: the settings as they are typed, and what they do.
type change struct {
	say string
	do  func(*settings)
}

func (c change) flag() string { return c.say[:strings.IndexByte(c.say, ' ')+1] }

func (r *refusal) Error() string { return r.what }

func refuse(format string, args ...any) *refusal {
	return &refusal{what: fmt.Sprintf(format, args...)}
}

func (r *refusal) or(c change) *refusal {
	r.changes = append(r.changes, c)
	return r
}

// propose is the refusal as the user reads it: every proposal in it was tried,
// and fits. A change that runs into another refusal takes that one's first change
// along.
func (r *refusal) propose(s *settings, try func(*settings) error) error {
	var say []string
	fits := func(t *settings) bool { return try(t) == nil }
	for _, c := range append(r.changes, shorter(s, fits), fewer(s, fits)) {
		t, text := *s, c.say
		for range maxChanges {
			if c.do == nil {
				break
			}
			c.do(&t)
			err := try(&t)
			if err == nil {
				say = append(say, text)
				break
			}
			var next *refusal
			if !errors.As(err, &next) || len(next.changes) == 0 {
				break
			}
			if c = next.changes[0]; strings.Contains(text, c.flag()) {
				break // the same number again would undo it
			}
			text += " with " + c.say
		}
	}
	if len(say) == 0 {
		return fmt.Errorf("%w: %s: use a smaller model, or one with fewer bits a weight", ErrPlan, r.what)
	}
	return fmt.Errorf("%w: %s: try %s", ErrPlan, r.what, strings.Join(say, ", or "))
}

// maxChanges is how many settings one proposal may change.
const maxChanges = 4

// shorter is the longest context of whole blocks that fits with all else as it
// is.
func shorter(s *settings, fits func(*settings) bool) change {
	block := s.layout.Block
	with := func(columns int) func(*settings) {
		return func(t *settings) {
			t.Context = columns * block
			t.Chunk = min(t.Chunk, t.Context)
		}
	}
	most := largestUnder((s.Context+block-1)/block, s, with, fits)
	if most == 0 {
		return change{}
	}
	return change{fmt.Sprintf("--context %d", most*block), with(most)}
}

// fewer is the most sequences at once that fit with all else as it is.
func fewer(s *settings, fits func(*settings) bool) change {
	with := func(n int) func(*settings) {
		return func(t *settings) {
			if t.Seats == t.Sequences {
				t.Seats = n
			}
			t.Sequences = n
		}
	}
	most := largestUnder(s.Sequences, s, with, fits)
	if most == 0 {
		return change{}
	}
	return change{sequences(most) + " at once", with(most)}
}

// largestUnder is the largest number under high, which does not fit, with which the
// settings do; 0: none.
func largestUnder(high int, s *settings, with func(int) func(*settings), fits func(*settings) bool) int {
	low := 0
	for low+1 < high {
		mid, t := low+(high-low)/2, *s
		if with(mid)(&t); fits(&t) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// selection makes the device hold what one layer of a step selects.
func (p *Plan) selection(s *settings) change {
	n := roundUp(p.Tails+int64(max(1, s.constants.K))*p.BlockLen*int64(s.layout.Heads), 1<<20)
	return change{"--kv-device " + exact(n), func(t *settings) { t.KVDevice = n }}
}

func hostOf(n int64) change {
	n = roundUp(n, 1<<20)
	return change{"--kv-host " + exact(n), func(t *settings) { t.KVHost = n }}
}

func diskOf(s *settings, n int64) change {
	n = roundUp(n, 1<<20)
	return change{"--kv-disk " + s.DiskDir + ":" + exact(n), func(t *settings) { t.DiskSize = n }}
}

var diskBelow = change{"--kv-disk DIR", func(t *settings) { t.DiskDir = "DIR" }}

// tooMuch refuses a plan that memory cannot hold.
func (p *Plan) tooMuch(s *settings) *refusal {
	kv := p.SlotBytes + p.Host + p.Summaries + p.Tables + p.Tails
	r := refuse("%s takes %s (weights %s, KV %s, a step %s), %s are free", contextOf(s), Size(p.Memory), Size(p.Weights), Size(kv), Size(p.Step), Size(p.Available))
	if p.DeviceFree > 0 {
		r = refuse("%s takes %s of the host's memory, %s are free", contextOf(s), Size(p.Memory), Size(p.Available))
	}
	disk := " with --kv-disk DIR"
	if s.DiskDir != "" {
		disk = ""
	}
	below := func(t *settings) {
		if t.DiskDir == "" {
			t.DiskDir = "DIR"
		}
	}
	if p.Host > 0 {
		n := (p.Available - (p.Memory - p.Host)) / 10 * 9 >> 20 << 20
		if n > 0 {
			r = r.or(change{"--kv-host " + exact(n) + disk, func(t *settings) { below(t); t.KVHost = n }})
		}
	}
	if s.KVHost == 0 && p.DeviceFree == 0 { // half of what is left for the slots, the host pool takes of the rest
		n := p.Tails + (p.Available-(p.Memory-p.SlotBytes-p.Host))/2
		if n = n >> 20 << 20; n > p.Tails+p.BlockLen && (s.KVDevice == 0 || n < s.KVDevice) {
			r = r.or(change{"--kv-device " + exact(n) + disk, func(t *settings) { below(t); t.KVDevice = n }})
		}
	}
	if s.Chunk > 64 && p.DeviceFree == 0 && p.Step > p.Available/4 {
		r = r.or(change{"--chunk 64", func(t *settings) { t.Chunk = 64 }})
	}
	return r
}

// tooMuchOnDevice refuses a plan that the device's own memory cannot hold.
func (p *Plan) tooMuchOnDevice(s *settings) *refusal {
	r := refuse("%s takes %s of the device's memory (weights %s, KV %s, a step %s), %s are free", contextOf(s),
		Size(p.Device), Size(p.Weights), Size(p.SlotBytes+p.Tails+p.Summaries), Size(p.Step), Size(p.DeviceFree))
	n := p.Tails + (p.DeviceFree - (p.Device - p.SlotBytes))
	if n = n / 10 * 9 >> 20 << 20; n > p.Tails+p.BlockLen && (s.KVDevice == 0 || n < s.KVDevice) {
		r = r.or(change{"--kv-device " + exact(n), func(t *settings) { t.KVDevice = n }})
	}
	if s.Chunk > 64 {
		r = r.or(change{"--chunk 64", func(t *settings) { t.Chunk = 64 }})
	}
	return r
}

func contextOf(s *settings) string {
	what := fmt.Sprintf("a context of %d tokens", s.Context)
	if s.Sequences > 1 {
		what += " in " + sequences(s.Sequences)
	}
	return what
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// exact writes whole MiB so that they read back as they are.
func exact(n int64) string {
	if n%(1<<30) == 0 {
		return fmt.Sprintf("%dGiB", n>>30)
	}
	return fmt.Sprintf("%dMiB", n>>20)
}
