package engine

import "fmt"

// Bounds of the strings that can end an answer.
const (
	MaxStops     = 16
	MaxStopBytes = 1024 // of each
)

func checkStops(stops []string) error {
	if len(stops) > MaxStops {
		return fmt.Errorf("%w: %d stop strings: want %d at most", ErrOptions, len(stops), MaxStops)
	}
	for i, s := range stops {
		if s == "" || len(s) > MaxStopBytes {
			return fmt.Errorf("%w: stop string %d has %d bytes: want 1 to %d", ErrOptions, i, len(s), MaxStopBytes)
		}
	}
	return nil
}

// stops looks for strings that end a text, as it comes in pieces. What may be the
// beginning of one is held back until it is certain. Each byte is looked at a few times
// at most, whatever the strings are (Knuth, Morris and Pratt, 1977).
type stops struct {
	strings []string
	next    [][]int // by string and length of a match: the next shorter one that it ends with
	matched []int   // by string: bytes of it that the text ends with
	held    []byte
}

func newStops(strings []string) *stops {
	s := &stops{strings: strings, matched: make([]int, len(strings))}
	for _, p := range strings {
		next := make([]int, len(p)+1)
		for i, k := 1, 0; i < len(p); i++ {
			for k > 0 && p[i] != p[k] {
				k = next[k]
			}
			if p[i] == p[k] {
				k++
			}
			next[i+1] = k
		}
		s.next = append(s.next, next)
	}
	return s
}

// push takes a piece of text and returns what is certain of the text so far. Once one
// of the strings is there, found is it, and the text ends before it: of those that end
// at the same byte, before the longest. Nothing may be pushed after that.
func (s *stops) push(piece string) (text, found string) {
	if len(s.strings) == 0 {
		return piece, ""
	}
	for i := range len(piece) {
		c := piece[i]
		s.held = append(s.held, c)
		for j, p := range s.strings {
			k := s.matched[j]
			for k > 0 && p[k] != c {
				k = s.next[j][k]
			}
			if p[k] == c {
				k++
			}
			s.matched[j] = k
			if k == len(p) && k > len(found) {
				found = p
			}
		}
		if found != "" {
			text = string(s.held[:len(s.held)-len(found)])
			s.held = nil
			return text, found
		}
	}
	longest := 0
	for _, k := range s.matched {
		longest = max(longest, k)
	}
	certain := len(s.held) - longest
	text = string(s.held[:certain])
	s.held = append(s.held[:0], s.held[certain:]...)
	return text, ""
}

// flush returns what was held back, at the end of the text.
func (s *stops) flush() string {
	text := string(s.held)
	s.held = nil
	return text
}
