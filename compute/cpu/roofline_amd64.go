//go:build !noasm

package cpu

// probesOf picks the loops of a level's vectors.
func probesOf(level string) probes {
	switch level {
	case avx512.name:
		return probes{
			read:  func(p []byte) { readAVX512(&p[0], len(p)) },
			madds: func(n int) int { maddsAVX512(n); return 12 * 16 * 2 },
			idots: func(n int) int { idotsAVX512(n); return 12 * 64 * 2 },
		}
	case avx2.name:
		return probes{
			read:  func(p []byte) { readAVX2(&p[0], len(p)) },
			madds: func(n int) int { maddsAVX2(n); return 12 * 8 * 2 },
			idots: func(n int) int { idotsAVX2(n); return 4 * 32 * 2 },
		}
	}
	return probesGo
}

// Reading n bytes at p; n is a multiple of readStep above 0.

//go:noescape
func readAVX2(p *byte, n int)

//go:noescape
func readAVX512(p *byte, n int)

// Arithmetic, n rounds, at least one.

func maddsAVX2(n int)
func maddsAVX512(n int)
func idotsAVX2(n int)
func idotsAVX512(n int)
