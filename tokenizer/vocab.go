package tokenizer

import (
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"strings"
)

// maxTokens bounds ids, so that an index fits int32 and a lying id allocates little.
const maxTokens = 1 << 24

// strtab holds one string for each id: all text in one arena, no pointer per string.
type strtab struct {
	text  strings.Builder
	start []uint32 // absent for an id that has no string
	end   []uint32
	count int
}

const absent = math.MaxUint32

// newStrtab has room for n strings of size bytes together; both grow when they must.
func newStrtab(n, size int) *strtab {
	t := &strtab{start: make([]uint32, 0, n), end: make([]uint32, 0, n)}
	t.text.Grow(size)
	return t
}

// put sets the string of an id. The caller has checked the id against maxTokens or against the input's size.
func (t *strtab) put(id int32, s string) error {
	if t.text.Len()+len(s) >= absent {
		return fmt.Errorf("%w: tokens of more than 4 GiB together", ErrFormat)
	}
	for int(id) >= len(t.start) {
		t.start = append(t.start, absent)
		t.end = append(t.end, absent)
	}
	if t.start[id] == absent {
		t.count++
	}
	t.start[id] = uint32(t.text.Len())
	t.text.WriteString(s)
	t.end[id] = uint32(t.text.Len())
	return nil
}

func (t *strtab) has(id int32) bool {
	return uint(id) < uint(len(t.start)) && t.start[id] != absent
}

// get returns the string of an id that has one.
func (t *strtab) get(id int32) string {
	return t.text.String()[t.start[id]:t.end[id]]
}

// vocab is the model's own vocabulary: strings by id and ids by string. Added tokens are beside it.
type vocab struct {
	*strtab
	seed  maphash.Seed
	index []int32 // open addressing, id+1, 0 where free; a power of two at most half full
}

// build makes the index. When a string has two ids the later one in the order of ids keeps it.
func (v *vocab) build() {
	v.seed = maphash.MakeSeed()
	v.index = make([]int32, 1<<bits.Len(uint(2*v.count)))
	for id := range v.start {
		if !v.has(int32(id)) {
			continue
		}
		at := v.slot(v.get(int32(id)))
		v.index[at] = int32(id) + 1
	}
}

// slot returns where s is in the index, or where it would go.
func (v *vocab) slot(s string) int {
	mask := len(v.index) - 1
	at := int(maphash.String(v.seed, s)) & mask
	for v.index[at] != 0 && v.get(v.index[at]-1) != s {
		at = (at + 1) & mask
	}
	return at
}

// find returns the id of a string.
func (v *vocab) find(s string) (int32, bool) {
	id := v.index[v.slot(s)]
	return id - 1, id != 0
}

// merges maps a pair of ids to the rank of its merge and the id that it becomes.
type merges struct {
	slots []mergeSlot // open addressing, a power of two at most three quarters full
	shift uint
	count int
}

type mergeSlot struct {
	pair uint64 // left << 32 | right, noPair where free
	rank uint32
	to   int32
}

const (
	noPair = math.MaxUint64
	noRank = math.MaxUint32
)

// newMerges has room for n merges; it grows when there are more.
func newMerges(n int) *merges {
	m := &merges{}
	m.resize(bits.Len(uint(n + n/3 + 1)))
	return m
}

// resize makes room for 1<<size slots.
func (m *merges) resize(size int) {
	old := m.slots
	m.slots, m.shift = make([]mergeSlot, 1<<size), uint(64-size)
	for i := range m.slots {
		m.slots[i].pair = noPair
	}
	for _, s := range old {
		if s.pair != noPair {
			*m.slot(s.pair) = s
		}
	}
}

// slot returns the slot of a pair, or the free one where it would go.
func (m *merges) slot(pair uint64) *mergeSlot {
	at := pair * 0x9E3779B97F4A7C15 >> m.shift
	for {
		s := &m.slots[at]
		if s.pair == pair || s.pair == noPair {
			return s
		}
		at = (at + 1) & uint64(len(m.slots)-1)
	}
}

// put sets the merge of a pair; a pair that is given twice takes the later rank.
func (m *merges) put(left, right, to int32, rank uint32) {
	s := m.slot(pairOf(left, right))
	if s.pair == noPair {
		if m.count++; m.count*4 > len(m.slots)*3 {
			m.resize(bits.Len(uint(len(m.slots))))
			s = m.slot(pairOf(left, right))
		}
	}
	*s = mergeSlot{pairOf(left, right), rank, to}
}

// find returns the rank of a pair's merge and the id that it becomes, or noRank.
func (m *merges) find(left, right int32) (uint32, int32) {
	s := m.slot(pairOf(left, right))
	if s.pair == noPair {
		return noRank, 0
	}
	return s.rank, s.to
}

func pairOf(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// splitMerge splits the older writing of a merge.
func splitMerge(s string) (left, right string, err error) {
	left, right, ok := strings.Cut(s, " ")
	if !ok || strings.Contains(right, " ") {
		return "", "", fmt.Errorf("%w: %q is not two tokens with a space between", ErrFormat, shorten(s))
	}
	return left, right, nil
}

// add puts the merge of two tokens, which with what they become must be in the vocabulary.
func (m *merges) add(v *vocab, left, right string, joined []byte, rank uint32) error {
	l, okL := v.find(left)
	r, okR := v.find(right)
	to, ok := v.find(string(joined))
	if !ok || !okL || !okR {
		return fmt.Errorf("%w: %q and %q: the vocabulary lacks one of them or both together", ErrFormat, shorten(left),
			shorten(right))
	}
	m.put(l, r, to, rank)
	return nil
}
