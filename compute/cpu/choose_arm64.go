//go:build !noasm

package cpu

//go:noescape
func topsNEON(top, x *float32, n int)

//go:noescape
func aboveNEON(ids *int32, x *float32, n int, low float32) int

func tops(top *[lanes]float32, x []float32) {
	n := len(x) &^ (lanes - 1)
	if n == 0 {
		topsGo(top, x)
		return
	}
	topsNEON(&top[0], &x[0], n)
	for i, v := range x[n:] {
		if v > top[i] {
			top[i] = v
		}
	}
}

func above(ids []int32, x []float32, low float32) int {
	n, found := len(x)&^15, 0
	if n > 0 {
		_ = ids[len(x)-1]
		found = aboveNEON(&ids[0], &x[0], n, low)
	}
	for i, v := range x[n:] {
		if v >= low {
			ids[found] = int32(n + i)
			found++
		}
	}
	return found
}
