//go:build !noasm && (amd64 || arm64)

package cpu

// rotateFunc turns n pairs of each head, of dim channels, by vectors.
type rotateFunc func(v, cos, sin *float32, n, heads, dim, half int)

// rotate leaves what fills no vector of so many angles to the twin.
func rotate(f rotateFunc, lanes int, row, cos, sin []float32, heads, dim int, interleaved bool) {
	n := len(cos)
	full := n / lanes * lanes
	if full > 0 && heads > 0 {
		_, _, _ = row[(heads-1)*dim+2*n-1], sin[n-1], row[:heads*dim]
		f(&row[0], &cos[0], &sin[0], full, heads, dim, n)
	}
	if full == n {
		return
	}
	for h := range heads {
		v := row[h*dim:][:dim]
		if interleaved {
			rotatePairsGo(v[2*full:], cos[full:], sin[full:])
		} else {
			rotateHalvesGo(v[full:n], v[n+full:], cos[full:], sin[full:])
		}
	}
}
