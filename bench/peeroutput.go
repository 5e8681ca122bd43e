package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// errOutput is wrapped by what is wrong with a peer's output.
var errOutput = errors.New("unexpected output")

// benchRow is what matters of an element of llama-bench's -o json.
type benchRow struct {
	Commit  string    `json:"build_commit"`
	Number  int       `json:"build_number"`
	Threads int       `json:"n_threads"`
	Prompt  int       `json:"n_prompt"`
	Gen     int       `json:"n_gen"`
	Depth   int       `json:"n_depth"`
	Samples []float64 `json:"samples_ts"`
}

// parse reads llama-bench's answer and holds it against the question.
func (p *Peer) parse(data []byte, t Test, repeat int) ([]float64, error) {
	rows, err := parseRows(data)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("%w: %d results, want 1", errOutput, len(rows))
	}
	r := rows[0]
	if r.Prompt != t.Prompt || r.Gen != t.Gen || r.Depth != t.Depth || r.Threads != p.Threads {
		return nil, fmt.Errorf("%w: measured %d prompt tokens, %d generated, depth %d, %d threads; asked for %d, %d, %d, %d", errOutput,
			r.Prompt, r.Gen, r.Depth, r.Threads, t.Prompt, t.Gen, t.Depth, p.Threads)
	}
	if len(r.Samples) != repeat {
		return nil, fmt.Errorf("%w: %d samples, want %d", errOutput, len(r.Samples), repeat)
	}
	if r.Commit != "" {
		p.version = fmt.Sprintf("%s (%d)", r.Commit, r.Number)
	}
	return r.Samples, nil
}

// parseRows reads the array, whose samples must be speeds.
func parseRows(data []byte) ([]benchRow, error) {
	var rows []benchRow
	if err := json.Unmarshal(data, &rows); err != nil {
		return nil, fmt.Errorf("%w: want a JSON array of results: %w", errOutput, err)
	}
	for _, r := range rows {
		for _, s := range r.Samples {
			if !isSpeed(s) {
				return nil, fmt.Errorf("%w: a sample of %g tokens per second", errOutput, s)
			}
		}
	}
	return rows, nil
}

// parseBatched finds the one line of JSON among what llama-batched-bench writes.
func parseBatched(data []byte, t Test) ([]float64, error) {
	var samples []float64
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		if !bytes.HasPrefix(line, []byte("{")) {
			continue
		}
		var r struct {
			Prompt int     `json:"pp"`
			Gen    int     `json:"tg"`
			Batch  int     `json:"pl"`
			Speed  float64 `json:"speed_tg"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%w: %w", errOutput, err)
		}
		if r.Prompt != max(t.Depth, 1) || r.Gen != t.Gen || r.Batch != t.Batch {
			return nil, fmt.Errorf("%w: measured %d sequences of %d tokens after %d; asked for %d of %d after %d", errOutput,
				r.Batch, r.Gen, r.Prompt, t.Batch, t.Gen, max(t.Depth, 1))
		}
		if !isSpeed(r.Speed) {
			return nil, fmt.Errorf("%w: a sample of %g tokens per second", errOutput, r.Speed)
		}
		samples = append(samples, r.Speed)
	}
	if len(samples) != 1 {
		return nil, fmt.Errorf("%w: %d results, want 1", errOutput, len(samples))
	}
	return samples, nil
}

func isSpeed(v float64) bool { return v > 0 && !math.IsInf(v, 0) }
