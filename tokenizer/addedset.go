package tokenizer

import (
	"fmt"
	"slices"
	"strings"
)

// addedSet holds all added tokens, by id and by content. Files may have a hundred thousand of them, so it is made of a
// few plain slices.
type addedSet struct {
	list      []addedToken // by id, no id twice
	byContent []int32      // indices into list, by content, no content twice
	known     []uint64     // bit id is set for an added token
	special   []uint64     // and for a special one
}

// newAddedSet checks the tokens against each other and against the vocabulary. The slice is kept, and sorted.
func newAddedSet(list []addedToken, v *vocab) (*addedSet, error) {
	slices.SortStableFunc(list, func(a, b addedToken) int { return int(a.id) - int(b.id) })
	for i, a := range list {
		if other := (i > 0 && list[i-1].id == a.id); other && list[i-1].content != a.content {
			return nil, idTwice(a.id, list[i-1].content, a.content)
		}
		if v.has(a.id) && v.get(a.id) != a.content {
			return nil, idTwice(a.id, v.get(a.id), a.content)
		}
	}
	// The same token twice: the later one counts.
	kept := list[:0]
	for i, a := range list {
		if i+1 == len(list) || list[i+1].id != a.id {
			kept = append(kept, a)
		}
	}
	s := &addedSet{list: kept, byContent: make([]int32, len(kept))}
	for i := range s.byContent {
		s.byContent[i] = int32(i)
	}
	slices.SortFunc(s.byContent, func(a, b int32) int { return strings.Compare(s.list[a].content, s.list[b].content) })
	for i := 1; i < len(s.byContent); i++ {
		if a, b := s.list[s.byContent[i-1]], s.list[s.byContent[i]]; a.content == b.content {
			return nil, fmt.Errorf("%w: added token %q has both id %d and %d", ErrFormat, shorten(a.content), a.id, b.id)
		}
	}
	if len(kept) > 0 {
		words := int(kept[len(kept)-1].id)/64 + 1
		bits := make([]uint64, 2*words)
		s.known, s.special = bits[:words], bits[words:]
	}
	for _, a := range kept {
		s.known[a.id/64] |= 1 << (a.id % 64)
		if a.special {
			s.special[a.id/64] |= 1 << (a.id % 64)
		}
	}
	return s, nil
}

func idTwice(id int32, a, b string) error {
	return fmt.Errorf("%w: id %d is both %q and %q", ErrFormat, id, shorten(a), shorten(b))
}

// size returns one more than the largest id.
func (s *addedSet) size() int {
	if len(s.list) == 0 {
		return 0
	}
	return int(s.list[len(s.list)-1].id) + 1
}

func (s *addedSet) has(id int32) bool       { return bit(s.known, id) }
func (s *addedSet) isSpecial(id int32) bool { return bit(s.special, id) }

func bit(bits []uint64, id int32) bool {
	return id >= 0 && int(id/64) < len(bits) && bits[id/64]&(1<<(id%64)) != 0
}

// content returns the text of an added token's id.
func (s *addedSet) content(id int32) string {
	i, _ := slices.BinarySearchFunc(s.list, id, func(a addedToken, id int32) int { return int(a.id) - int(id) })
	return s.list[i].content
}

// find returns the id of an added token's text.
func (s *addedSet) find(content string) (int32, bool) {
	i, ok := slices.BinarySearchFunc(s.byContent, content, func(i int32, c string) int {
		return strings.Compare(s.list[i].content, c)
	})
	if !ok {
		return -1, false
	}
	return s.list[s.byContent[i]].id, true
}

// matchers returns what finds the tokens in a text as it is, and what finds them in the normalised text.
func (s *addedSet) matchers(normalize func(string) string) (raw, normalized *matcher, err error) {
	if raw, err = newMatcher(s.list, false, func(c string) string { return c }); err != nil {
		return nil, nil, err
	}
	normalized, err = newMatcher(s.list, true, normalize)
	return raw, normalized, err
}
