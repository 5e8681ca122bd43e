package tokenizer

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// applySlowly is the definition: the pair of lowest rank, leftmost among equals, becomes one symbol, until none is left.
func (m *merges) applySlowly(ids []int32) []int32 {
	ids = slices.Clone(ids)
	for {
		best, at, to := uint32(noRank), 0, int32(0)
		for i := range len(ids) - 1 {
			if rank, id := m.find(ids[i], ids[i+1]); rank < best {
				best, at, to = rank, i, id
			}
		}
		if best == noRank {
			return ids
		}
		ids = slices.Replace(ids, at, at+2, to)
	}
}

// grammar makes merges over few symbols, so that they overlap: token n spells what two earlier ones spell.
func grammar(r *rand.Rand, symbols, count int, equalRanks bool) *merges {
	m := newMerges(0)
	spell := map[string]int32{}
	var text []string
	for i := range symbols {
		text = append(text, string(rune('a'+i)))
		spell[text[i]] = int32(i)
	}
	for n := range count {
		l, r2 := r.IntN(len(text)), r.IntN(len(text))
		s := text[l] + text[r2]
		if len(s) > 8 {
			continue
		}
		id, ok := spell[s]
		if !ok {
			id = int32(len(text))
			text = append(text, s)
			spell[s] = id
		}
		rank := uint32(n)
		if equalRanks {
			rank /= 4
		}
		m.put(int32(l), int32(r2), id, rank)
	}
	return m
}

func TestMergesAgree(t *testing.T) {
	seed := uint64(4)
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var sc scratch
	for round := range 300 {
		symbols := 1 + r.IntN(4)
		m := grammar(r, symbols, 1+r.IntN(60), round%3 == 0)
		for range 5 {
			ids := make([]int32, r.IntN(120))
			for i := range ids {
				ids[i] = int32(r.IntN(symbols))
			}
			want := m.applySlowly(ids)
			if got := m.apply(slices.Clone(ids), &sc); !slices.Equal(got, want) {
				t.Fatalf("round %d, %v: got %v, want %v", round, ids, got, want)
			}
			if len(ids) < 2 {
				continue
			}
			sc.rank, sc.to = grow(sc.rank, len(ids)), grow(sc.to, len(ids))
			for i := range len(ids) - 1 {
				sc.rank[i], sc.to[i] = m.find(ids[i], ids[i+1])
			}
			sc.rank[len(ids)-1] = noRank
			few := m.applyFew(slices.Clone(ids), slices.Clone(sc.rank), slices.Clone(sc.to))
			many := m.applyMany(slices.Clone(ids), &sc)
			if !slices.Equal(few, want) || !slices.Equal(many, want) {
				t.Fatalf("round %d, %v: few %v, many %v, want %v", round, ids, few, many, want)
			}
		}
	}
}

// A megabyte without a boundary is one word. The quadratic way would take minutes; the limit of the test
// run is the only clock here.
func TestOneLongWord(t *testing.T) {
	for _, kind := range []string{"gpt2", "sp", "sp-any"} {
		tok := load(t, kind)
		for name, text := range map[string]string{
			"one letter": strings.Repeat("a", 1<<20),
			"letters":    strings.Repeat("abcdefghij", 1<<20/10),
			"spaces":     strings.Repeat(" ", 1<<20),
			"symbols":    strings.Repeat("<", 1<<20),
			"stray":      strings.Repeat("\xe4", 1<<18),
		} {
			start := time.Now()
			ids := tok.Encode(nil, text, EncodeOptions{AddSpecial: true, ParseSpecial: true})
			if len(ids) == 0 {
				t.Errorf("%s, %s: no ids", kind, name)
			}
			if testing.Verbose() {
				t.Logf("%s, %s: %d ids in %v", kind, name, len(ids), time.Since(start))
			}
		}
	}
}

func TestMergesGrow(t *testing.T) {
	m := newMerges(0)
	for i := range int32(1000) {
		m.put(i, i+1, i+2, uint32(i))
		m.put(i, i+1, i+2, uint32(i)+5) // given twice: the later one counts
	}
	if m.count != 1000 {
		t.Errorf("%d merges, want 1000", m.count)
	}
	for i := range int32(1000) {
		if rank, to := m.find(i, i+1); rank != uint32(i)+5 || to != i+2 {
			t.Fatalf("merge %d: rank %d to %d", i, rank, to)
		}
		if rank, _ := m.find(i+1, i); rank != noRank {
			t.Fatalf("pair %d, %d has rank %d", i+1, i, rank)
		}
	}
}
