//go:build !noasm

package cpu

// probesOf picks the loops of a level's vectors.
func probesOf(level string) probes {
	switch level {
	case amx.name, avx512.name:
		return probes{
			read:  func(p []byte) { readAVX512(&p[0], len(p)) },
			madds: func(n int) int { maddsAVX512(n); return 12 * 16 * 2 },
			words: func(n int) int { wordsAVX512(n); return 12 * 32 * 2 },
			bytes: func(n int) int { bytesAVX512(n); return 12 * 64 * 2 },
		}
	case avx2.name:
		return probes{
			read:  func(p []byte) { readAVX2(&p[0], len(p)) },
			madds: func(n int) int { maddsAVX2(n); return 12 * 8 * 2 },
			words: func(n int) int { wordsAVX2(n); return 6 * 16 * 2 },
			bytes: func(n int) int { bytesAVX2(n); return 6 * 32 * 2 },
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
func wordsAVX2(n int)
func wordsAVX512(n int)
func bytesAVX2(n int)
func bytesAVX512(n int)
