package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
)

// result is all that was measured of one model.
type result struct {
	Name       string         `json:"name"`
	Method     string         `json:"method"`
	Folder     string         `json:"folder"`
	Parameters int64          `json:"parameters"`
	Sparse     *constants     `json:"sparse,omitempty"` // absent where every block is read
	Loss       *lossResult    `json:"loss,omitempty"`
	Needles    *needlesResult `json:"needles,omitempty"`
	Pools      *poolsResult   `json:"pools,omitempty"`
}

// constants are those of selection.
type constants struct {
	Block  int `json:"block_size"`
	Init   int `json:"init_blocks"`
	Window int `json:"window_size"`
	TopK   int `json:"topk"`
	TopKQ  int `json:"topk_q"`
}

// bound is the part of a selection that the next step must share: only what the query chooses may change (spec nosa, section 4).
func (c *constants) bound() float64 { return 1 - float64(c.TopKQ)/float64(c.TopK) }

// textSettings say which held-out tokens were read.
type textSettings struct {
	Texts     string `json:"texts"` // digest of the set
	Context   int    `json:"context"`
	Documents int    `json:"documents"`
	Device    string `json:"device"`
}

type lossResult struct {
	textSettings
	Loss       float64        `json:"loss"` // nats per target
	Tokens     int            `json:"tokens"`
	ByPosition []positionLoss `json:"by_position"`
}

// positionLoss is the loss of targets whose row is at Begin to End-1, as in the log of a run.
type positionLoss struct {
	Begin int     `json:"begin"`
	End   int     `json:"end"`
	Loss  float64 `json:"loss"`
	Count int     `json:"count"`
}

type needleSettings struct {
	Filler    string `json:"filler"` // digest of the set
	Device    string `json:"device"`
	Length    int    `json:"length"`
	Samples   int    `json:"samples"`
	Questions int    `json:"questions"` // of a document, each asked by itself; the other needles distract
	Digits    int    `json:"digits"`
	Seed      uint64 `json:"seed"`
}

type needlesResult struct {
	needleSettings
	Right   int         `json:"right"`
	Share   float64     `json:"share"`
	ByDepth [10]tally   `json:"by_depth"` // tenths of the prompt, where the needle lies
	Missed  [][2]string `json:"missed"`   // some: what was due, what came
}

type tally struct {
	Right int `json:"right"`
	Of    int `json:"of"`
}

type poolSettings struct {
	textSettings
	Steps int `json:"steps"` // decoded at the end of each document
}

type poolsResult struct {
	poolSettings
	Runs []poolRun `json:"runs"`
}

// poolRun is what the decode steps found in slots. Where Slots is 0 exactly the last selection is kept.
type poolRun struct {
	Slots    float64     `json:"slots_per_selected_block"`
	Selected int64       `json:"selected"`
	Hits     int64       `json:"hits"`
	Layers   []layerHits `json:"layers"`
}

type layerHits struct {
	Selected int64 `json:"selected"`
	Hits     int64 `json:"hits"`
}

func (r poolRun) rate() float64   { return float64(r.Hits) / float64(max(r.Selected, 1)) }
func (r poolRun) misses() float64 { return 1 - r.rate() }

func (l layerHits) rate() float64 { return float64(l.Hits) / float64(max(l.Selected, 1)) }

// worst is the layer with the fewest hits.
func (r poolRun) worst() (layer int, rate float64) {
	rate = 1
	for i, l := range r.Layers {
		if l.rate() < rate {
			layer, rate = i, l.rate()
		}
	}
	return layer, rate
}

// readResult reads what is there of a model; nothing is no error.
func readResult(path string) (*result, error) {
	r := &result{}
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// write puts the file in the place of the one that is there.
func (r *result) write(path string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o666); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// same tells whether a part has been measured with these settings.
func same[T any](had bool, old func() T, now T) bool { return had && reflect.DeepEqual(old(), now) }
