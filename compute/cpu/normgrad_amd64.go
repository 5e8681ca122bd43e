//go:build !noasm

package cpu

//go:noescape
func normDotsAVX2(dy, x, weight *float32, n int) (squares, along float64)

//go:noescape
func normDotsAVX512(dy, x, weight *float32, n int) (squares, along float64)

//go:noescape
func normSlopesAVX2(dx *float32, sum *float64, dy, x, weight *float32, n int, inv, along float32, add int)

//go:noescape
func normSlopesAVX512(dx *float32, sum *float64, dy, x, weight *float32, n int, inv, along float32, add int)

// The assembly takes whole vectors; what fills none is the twins'.

func normDots256(dy, x, weight []float32) (squares, along float64) {
	n := len(x) &^ 7
	if n > 0 {
		_, _ = dy[n-1], weight[n-1]
		squares, along = normDotsAVX2(&dy[0], &x[0], &weight[0], n)
	}
	s, a := normDotsGo(dy[n:], x[n:], weight[n:])
	return squares + s, along + a
}

func normDots512(dy, x, weight []float32) (squares, along float64) {
	n := len(x) &^ 15
	if n > 0 {
		_, _ = dy[n-1], weight[n-1]
		squares, along = normDotsAVX512(&dy[0], &x[0], &weight[0], n)
	}
	s, a := normDotsGo(dy[n:], x[n:], weight[n:])
	return squares + s, along + a
}

func normSlopes256(dx []float32, sum []float64, dy, x, weight []float32, inv, along float32, add bool) {
	n := len(x) &^ 7
	if n > 0 {
		_, _, _, _ = dx[n-1], sum[n-1], dy[n-1], weight[n-1]
		normSlopesAVX2(&dx[0], &sum[0], &dy[0], &x[0], &weight[0], n, inv, along, more(add))
	}
	normSlopesGo(dx[n:], sum[n:], dy[n:], x[n:], weight[n:], inv, along, add)
}

func normSlopes512(dx []float32, sum []float64, dy, x, weight []float32, inv, along float32, add bool) {
	n := len(x) &^ 15
	if n > 0 {
		_, _, _, _ = dx[n-1], sum[n-1], dy[n-1], weight[n-1]
		normSlopesAVX512(&dx[0], &sum[0], &dy[0], &x[0], &weight[0], n, inv, along, more(add))
	}
	normSlopesGo(dx[n:], sum[n:], dy[n:], x[n:], weight[n:], inv, along, add)
}
