package corpus

import "math/bits"

// needleLane fills each sequence with whole documents, so that no question is cut from what it asks for.
type needleLane struct {
	needles *Needles
	seed    uint64
	count   uint64 // sequences so far
}

func (l *needleLane) fill(tokens, targets []int32, begins func(row int)) error {
	r := random(derive(l.seed, l.count))
	for row := 0; row < len(tokens); {
		n := l.needles.length(&r, len(tokens)-row)
		d, err := l.needles.Document(r.next(), n)
		if err != nil {
			return err
		}
		begins(row)
		copy(tokens[row:], d.Tokens)
		copy(targets[row:], d.Targets)
		row += n
	}
	l.count++
	return nil
}

// length draws the length of the next document where room tokens are left: an octave by chance, then a length in it, so that
// short ones are as common as long ones. What is left behind it has room for another, or is taken as well, even where the
// document is longer than Max then.
func (n *Needles) length(r *random, room int) int {
	least, most := n.c.Min, n.c.Max
	if most == 0 || most > room {
		most = room
	}
	if room < 2*least || most <= least {
		if room < 2*least {
			return room
		}
		return least
	}
	octave := r.below(bits.Len(uint(most / least)))
	low := least << octave
	length := low + r.below(min(2*low, most+1)-low)
	if rest := room - length; rest > 0 && rest < least {
		if room <= most {
			return room
		}
		length = room - least
	}
	return length
}

func (l *needleLane) position() Position { return Position{Index: l.count} }

func (l *needleLane) moveTo(p Position) error {
	l.count = p.Index
	return nil
}
