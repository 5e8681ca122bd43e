package load

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// MostTokens bounds the length of a prompt and of an answer.
const MostTokens = 1 << 22

const (
	mostParts  = 64  // of a mixture
	mostWeight = 1e6 // of a part
)

// Mix is a distribution of lengths in tokens: a mixture of ranges, each even.
type Mix struct {
	parts []part
	sum   float64 // of the weights
}

type part struct {
	low, high int
	weight    float64
}

// ParseMix reads LENGTH, LOW-HIGH, or several of them with commas, each with an
// optional @WEIGHT: 100-1000@9,16384@1. least is the smallest length there may be.
func ParseMix(s string, least int) (Mix, error) {
	bad := func(item, why string) (Mix, error) {
		return Mix{}, fmt.Errorf("%.60q %s: want lengths such as 512, 100-1000 or 100-1000@9,16384@1, from %d to %d", item, why, least, MostTokens)
	}
	items := strings.Split(s, ",")
	if len(items) > mostParts {
		return bad(s, fmt.Sprintf("has more than %d parts", mostParts))
	}
	var m Mix
	for _, item := range items {
		span, weight, weighed := strings.Cut(item, "@")
		low, high, ranged := strings.Cut(span, "-")
		if !ranged {
			high = low
		}
		p := part{weight: 1}
		var err, err2 error
		p.low, err = strconv.Atoi(low)
		p.high, err2 = strconv.Atoi(high)
		switch {
		case err != nil || err2 != nil:
			return bad(item, "is no length")
		case p.low < least || p.high > MostTokens:
			return bad(item, "is out of bounds")
		case p.low > p.high:
			return bad(item, "begins after its end")
		}
		if weighed {
			p.weight, err = strconv.ParseFloat(weight, 64)
			if err != nil || !(p.weight > 0 && p.weight <= mostWeight) { // NaN is neither
				return bad(item, "has no weight above 0")
			}
		}
		m.parts = append(m.parts, p)
		m.sum += p.weight
	}
	return m, nil
}

// Draw takes a length.
func (m Mix) Draw(r *rand.Rand) int {
	at := r.Float64() * m.sum
	for i, p := range m.parts {
		if at -= p.weight; at < 0 || i == len(m.parts)-1 {
			return p.low + r.IntN(p.high-p.low+1)
		}
	}
	return 0 // of no parts
}

// Most is the longest length that may be drawn.
func (m Mix) Most() int {
	most := 0
	for _, p := range m.parts {
		most = max(most, p.high)
	}
	return most
}
