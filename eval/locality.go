package eval

import (
	"context"
	"fmt"
	"math"

	"nosa/compute"
	"nosa/engine"
)

// Locality is what pools of several sizes counted while tokens were decoded behind a part of the book.
type Locality struct {
	Steps int       `json:"steps"`
	Pools []PoolRun `json:"pools"`
}

// poolRatios are the sizes of pools: slots for each block that is selected. 0 keeps each head's last selection.
var poolRatios = []float64{0, 1.25, 1.5, 2, 3, 4}

// warmTokens are decoded before anything is counted, decodedTokens behind them.
const warmTokens = 64

// locality counts the selections of an engine.
type locality struct {
	*opened
	length int
	pools  []*Pool // made by the first selection, which says how many blocks one has
}

func openLocality(ctx context.Context, c *Config, s Setting, length int) (session, error) {
	if length < 2*(warmTokens+decodedTokens) {
		return nil, fmt.Errorf("it decodes the last %d tokens: want a length of %d at least: %w", warmTokens+decodedTokens, 2*(warmTokens+decodedTokens), ErrTask)
	}
	if s.Policy != "" { // what it leaves is read whole
		return nil, errNoMore
	}
	l := &locality{length: length}
	o, err := openEngine(ctx, c, s, length, func(o *engine.Options) { o.OnSelect = l.selected })
	if err != nil {
		return nil, err
	}
	l.opened = o
	if o.engine.Plan().Method == "full" { // every block is read: there is nothing to count
		if err := o.Close(); err != nil {
			return nil, err
		}
		return nil, errNoMore
	}
	return l, nil
}

func (l *locality) selected(layer int, t compute.Tile, sel compute.Selection) {
	counted := l.length - decodedTokens
	if t.Pos < counted-warmTokens {
		return
	}
	for h, table := range t.Tables {
		own := int32(len(table) - 1)
		chosen := sel.List(t.N-1, h, int(own))
		if l.pools == nil {
			layers := l.engine.Config.Layers
			for _, ratio := range poolRatios {
				l.pools = append(l.pools, NewPool(ratio, layers, int(math.Round(ratio*float64(len(chosen)*layers*len(t.Tables))))))
			}
		}
		for _, p := range l.pools {
			p.Step(layer, h, own, chosen, t.Pos >= counted)
		}
	}
}

func (l *locality) sample(ctx context.Context, index int, r *Record) error {
	ids, err := l.part(index, l.length)
	if err != nil {
		return err
	}
	l.pools = nil
	if _, err := l.engine.ScoreDecoded(ctx, ids, l.length-decodedTokens-warmTokens, nil); err != nil {
		return err
	}
	r.Locality, r.PromptTokens = &Locality{Steps: decodedTokens}, len(ids)
	for _, p := range l.pools {
		r.Locality.Pools = append(r.Locality.Pools, p.PoolRun)
	}
	return nil
}

// localityOf adds parts of the book up.
func localityOf(parts []*Locality) *Locality {
	l := &Locality{}
	for _, p := range parts {
		l.Steps += p.Steps
		for i, run := range p.Pools {
			if i == len(l.Pools) {
				l.Pools = append(l.Pools, PoolRun{})
			}
			l.Pools[i].add(run)
		}
	}
	return l
}
