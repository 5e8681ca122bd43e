package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
)

// tcaProfile is a file with what each KV head of a model keeps of an event, in JSON:
//
//	{"format": "nosa-tca-1", "model": "SmolLM2-135M", "block": 64, "event": 16, "sink": 64,
//	 "local": 256, "rows": 64, "tau": 0.95, "heads": [[{"mu": 4.5, "sigma": 2,
//	 "counts": [1, 1, 2, 2, 3, 4, 3], "kept": 0.39, "score": 0.96}, …], …]}
//
// heads is by layer and KV head. counts says how many of an event's blocks keep 1, 2, 4, … and
// all of their tokens; they are event blocks together. mu, sigma, kept, score and tau say where
// the counts are from.
type tcaProfile struct {
	Format string      `json:"format"`
	Model  string      `json:"model"`
	Block  int         `json:"block"`
	Event  int         `json:"event"`
	Sink   int         `json:"sink"`
	Local  int         `json:"local"`
	Rows   int         `json:"rows"`
	Tau    float64     `json:"tau"`
	Heads  [][]tcaHead `json:"heads"`
}

type tcaHead struct {
	Mu     float64 `json:"mu"`
	Sigma  float64 `json:"sigma"`
	Counts []int   `json:"counts"`
	Kept   float64 `json:"kept"`
	Score  float64 `json:"score"`
}

const (
	tcaFormat  = "nosa-tca-1"
	tcaMost    = 16 << 20 // bytes of a file
	tcaLargest = 4096     // blocks of an event, tokens of a block, layers, heads of a layer
)

func readTCA(name string) (tcaProfile, error) {
	f, err := os.Open(name)
	if err != nil {
		return tcaProfile{}, err
	}
	defer func() { _ = f.Close() }() // it has been read
	data, err := io.ReadAll(io.LimitReader(f, tcaMost+1))
	if err != nil {
		return tcaProfile{}, err
	}
	return parseTCA(data)
}

// parseTCA reads a profile. What it returns is whole: every number is within its bounds.
func parseTCA(data []byte) (tcaProfile, error) {
	var p tcaProfile
	if len(data) > tcaMost {
		return p, fmt.Errorf("a profile of more than %d bytes", tcaMost)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("profile: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return p, errors.New("profile: more follows the object")
	}
	if p.Format != tcaFormat {
		return p, fmt.Errorf("profile: format %q, want %q", p.Format, tcaFormat)
	}
	for _, n := range []struct {
		name           string
		n, least, most int
	}{
		{"block", p.Block, 1, tcaLargest}, {"event", p.Event, 1, tcaLargest}, {"sink", p.Sink, 0, mostTokens},
		{"local", p.Local, 1, mostTokens}, {"rows", p.Rows, 1, min(p.Local, tcaLargest)}, {"layers in heads", len(p.Heads), 1, tcaLargest},
	} {
		if n.n < n.least || n.n > n.most {
			return p, fmt.Errorf("profile: %s: %d, want %d to %d", n.name, n.n, n.least, n.most)
		}
	}
	if bits.OnesCount(uint(p.Block)) != 1 {
		return p, fmt.Errorf("profile: block: %d, want a power of two", p.Block)
	}
	for l, heads := range p.Heads {
		if len(heads) < 1 || len(heads) != len(p.Heads[0]) || len(heads) > tcaLargest {
			return p, fmt.Errorf("profile: layer %d has %d heads, layer 0 has %d", l, len(heads), len(p.Heads[0]))
		}
		for h, head := range heads {
			if err := p.checkCounts(head.Counts); err != nil {
				return p, fmt.Errorf("profile: layer %d, head %d: %w", l, h, err)
			}
		}
	}
	return p, nil
}

func (p *tcaProfile) checkCounts(counts []int) error {
	if want := bits.Len(uint(p.Block)); len(counts) != want {
		return fmt.Errorf("%d counts, want %d for blocks of %d tokens", len(counts), want, p.Block)
	}
	left := p.Event
	for _, n := range counts {
		if n < 0 || n > left {
			return fmt.Errorf("counts %v of %d blocks", counts, p.Event)
		}
		left -= n
	}
	if left > 0 {
		return fmt.Errorf("counts %v: %d of %d blocks are missing", counts, left, p.Event)
	}
	return nil
}

// fits refuses a profile that is not of a model like this one.
func (p *tcaProfile) fits(s Shape) error {
	if p.Block != s.Block || len(p.Heads) != s.Layers || len(p.Heads[0]) != s.KVHeads {
		return fmt.Errorf("a profile of %s: %d layers, %d KV heads, blocks of %d tokens; the model has %d, %d and %d",
			p.Model, len(p.Heads), len(p.Heads[0]), p.Block, s.Layers, s.KVHeads, s.Block)
	}
	return nil
}
