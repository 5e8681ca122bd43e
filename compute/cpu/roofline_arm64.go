//go:build !noasm

package cpu

// probesOf picks the loops of a level's vectors.
func probesOf(level string) probes {
	if level != neon.name {
		return probesGo
	}
	p := probes{
		read:  func(p []byte) { readNEON(&p[0], len(p)) },
		madds: func(n int) int { maddsNEON(n); return 24 * 4 * 2 },
		words: func(n int) int { wordsNEON(n); return 24 * 4 * 2 },
		bytes: func(n int) int { bytesNEON(n); return 12 * 8 * 2 },
	}
	if hasDotProducts() {
		p.bytes = func(n int) int { dotsNEON(n); return 24 * 16 * 2 }
	}
	return p
}

// Reading n bytes at p; n is a multiple of readStep above 0.
//
//go:noescape
func readNEON(p *byte, n int)

// Arithmetic, n rounds, at least one; dotsNEON asks for SDOT.

func maddsNEON(n int)
func wordsNEON(n int)
func bytesNEON(n int)
func dotsNEON(n int)
