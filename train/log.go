package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Record is one line of log.jsonl: a step, or an evaluation after it.
type Record struct {
	Step   int     `json:"step"` // steps done
	Tokens int64   `json:"tokens"`
	Loss   float64 `json:"loss,omitempty"` // nats per target, of the step
	Rate   float64 `json:"lr,omitempty"`
	Norm   float64 `json:"grad_norm,omitempty"` // of the mean gradient, before clipping
	Speed  float64 `json:"tokens_per_second,omitempty"`
	Memory int64   `json:"memory,omitempty"` // bytes of the device in use
	Method string  `json:"method,omitempty"`

	Importance *float64 `json:"importance_loss,omitempty"` // of what teaches scores: nats by weight that far tokens got
	Far        *float64 `json:"far_attention,omitempty"`   // that weight, of a query head's 1

	Eval       *float64       `json:"eval_loss,omitempty"`
	ByPosition []PositionLoss `json:"eval_by_position,omitempty"`
}

// PositionLoss is the loss of targets at positions of their documents from Begin to below End.
type PositionLoss struct {
	Begin int     `json:"begin"`
	End   int     `json:"end"`
	Loss  float64 `json:"loss"`
	Count int     `json:"count"`
}

const logFile = "log.jsonl"

// journal is log.jsonl: of every step that the last checkpoint has, once, and of those since.
type journal struct{ file *os.File }

// openJournal opens the log of a run that goes on behind a step. What an earlier process has told of
// later steps is taken away, as they will be done again; so is half a line.
func openJournal(out string, step int) (*journal, error) {
	path := filepath.Join(out, logFile)
	kept, err := keptLines(path, step)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	temp := path + ".new"
	if err = os.WriteFile(temp, kept, 0o666); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return &journal{f}, nil
}

func keptLines(path string, step int) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading: nothing can be lost
	var kept bytes.Buffer
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return kept.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
		var rec Record
		if json.Unmarshal(line, &rec) == nil && rec.Step <= step {
			kept.Write(line)
		}
	}
}

func (j *journal) write(r Record) error {
	line, err := json.Marshal(r)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("train: %s: %w", j.file.Name(), err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }
