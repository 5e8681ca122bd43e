package chat

import (
	"math"
	"math/big"
	"math/bits"
)

// maxBits limits integers: beyond it Python, too, refuses to print them.
const maxBits = 1 << 14

// normInt gives b as an int64 when it fits.
func normInt(b *big.Int) value {
	if b.IsInt64() {
		return b.Int64()
	}
	return b
}

// bigInt gives an integer or a bool as a big.Int.
func bigInt(v value) (*big.Int, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return big.NewInt(1), true
		}
		return new(big.Int), true
	case int64:
		return big.NewInt(v), true
	case *big.Int:
		return v, true
	}
	return nil, false
}

// smallInt gives an integer or a bool as an int64, when it is one that fits.
func smallInt(v value) (int64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return v, true
	}
	return 0, false
}

// index gives an integer as an int64, cut to what fits: as a bound of a slice
// or a count, more is as good as the most.
func (in *interp) index(v value) (int64, bool) {
	if n, ok := smallInt(v); ok {
		return n, true
	}
	if b, ok := v.(*big.Int); ok {
		if b.Sign() < 0 {
			return math.MinInt64, true
		}
		return math.MaxInt64, true
	}
	return 0, false
}

// float gives any number as a float64.
func (in *interp) float(v value) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		if math.IsInf(f, 0) {
			in.fail(ErrValue, "the integer is too large for a float")
		}
		return f, true
	}
	if n, ok := smallInt(v); ok {
		return float64(n), true
	}
	return 0, false
}

// keepInt checks the size of a result before it is handed on.
func (in *interp) keepInt(b *big.Int) value {
	if b.BitLen() > maxBits {
		in.fail(ErrLimit, "an integer has more than %d bits", maxBits)
	}
	in.step(1 + b.BitLen()/64)
	return normInt(b)
}

func (in *interp) sign(op kind, v value) value {
	if u, ok := v.(*undefined); ok {
		in.failUndefined(u)
	}
	if f, ok := v.(float64); ok {
		if op == "-" {
			return -f
		}
		return f
	}
	b, ok := bigInt(v)
	if !ok {
		in.fail(ErrValue, "a value of type %s has no sign", typeName(v))
	}
	if op == "-" {
		b = new(big.Int).Neg(b)
	}
	return normInt(b)
}

// arithmetic computes x op y for two numbers; ok is false for other types.
func (in *interp) arithmetic(op kind, x, y value) (v value, ok bool) {
	if a, isInt := smallInt(x); isInt {
		if b, isInt := smallInt(y); isInt {
			if v, ok := in.smallArithmetic(op, a, b); ok {
				return v, true
			}
		}
	}
	a, okA := bigInt(x)
	b, okB := bigInt(y)
	if okA && okB {
		return in.bigArithmetic(op, a, b), true
	}
	_, floatA := x.(float64)
	_, floatB := y.(float64)
	if !(okA || floatA) || !(okB || floatB) {
		return nil, false
	}
	f, _ := in.float(x)
	g, _ := in.float(y)
	return in.floatArithmetic(op, f, g), true
}

// smallArithmetic computes what needs no more than an int64.
func (in *interp) smallArithmetic(op kind, a, b int64) (value, bool) {
	switch op {
	case "+":
		if c := a + b; (c > a) == (b > 0) {
			return c, true
		}
	case "-":
		if c := a - b; (c < a) == (b > 0) {
			return c, true
		}
	case "*":
		if abs(a) < math.MaxInt32 && abs(b) < math.MaxInt32 {
			return a * b, true
		}
	case "//", "%":
		if b == 0 || a == math.MinInt64 {
			return nil, false
		}
		q, r := a/b, a%b
		if r != 0 && (r < 0) != (b < 0) {
			q, r = q-1, r+b
		}
		if op == "//" {
			return q, true
		}
		return r, true
	}
	return nil, false
}

func abs(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}

func (in *interp) divisor(zero bool) {
	if zero {
		in.fail(ErrValue, "division by zero")
	}
}

func (in *interp) bigArithmetic(op kind, a, b *big.Int) value {
	in.step(1 + (a.BitLen()+b.BitLen())/64)
	c := new(big.Int)
	switch op {
	case "+":
		return in.keepInt(c.Add(a, b))
	case "-":
		return in.keepInt(c.Sub(a, b))
	case "*":
		return in.keepInt(c.Mul(a, b))
	case "/":
		in.divisor(b.Sign() == 0)
		if a.Sign() == 0 {
			return math.Copysign(0, float64(b.Sign()))
		}
		f, _ := new(big.Rat).SetFrac(a, b).Float64()
		if math.IsInf(f, 0) {
			in.fail(ErrValue, "the quotient is too large for a float")
		}
		return f
	case "//", "%":
		in.divisor(b.Sign() == 0)
		m := new(big.Int)
		c.DivMod(a, b, m)                  // m is never negative
		if m.Sign() != 0 && b.Sign() < 0 { // Python gives the rest the sign of b
			c.Sub(c, big.NewInt(1))
			m.Add(m, b)
		}
		if op == "//" {
			return in.keepInt(c)
		}
		return in.keepInt(m)
	}
	return in.power(a, b)
}

// power computes a ** b of integers.
func (in *interp) power(a, b *big.Int) value {
	if b.Sign() < 0 {
		if a.Sign() == 0 {
			in.fail(ErrValue, "zero cannot be raised to a negative power")
		}
		f, _ := in.float(normInt(a))
		g, _ := in.float(normInt(b))
		return in.floatArithmetic("**", f, g)
	}
	if a.BitLen() > 1 {
		if hi, lo := bits.Mul64(uint64(a.BitLen()-1), b.Uint64()); !b.IsUint64() || hi > 0 || lo > maxBits {
			in.fail(ErrLimit, "an integer has more than %d bits", maxBits)
		}
	} else if a.Sign() < 0 { // -1
		return in.keepInt(new(big.Int).Sub(big.NewInt(1), big.NewInt(2*int64(b.Bit(0)))))
	} else {
		b = big.NewInt(int64(b.Sign())) // 0 or 1: any power but 0 is the same
	}
	in.step(maxBits / 64)
	return in.keepInt(new(big.Int).Exp(a, b, nil))
}

func (in *interp) floatArithmetic(op kind, a, b float64) value {
	switch op {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "/":
		in.divisor(b == 0)
		return a / b
	case "//", "%":
		in.divisor(b == 0)
		q, r := floorDivide(a, b)
		if op == "//" {
			return q
		}
		return r
	}
	if a == 0 && b < 0 {
		in.fail(ErrValue, "zero cannot be raised to a negative power")
	}
	if a < 0 && b != math.Trunc(b) && !math.IsInf(a, 0) && !math.IsInf(b, 0) {
		in.fail(ErrValue, "a power of a negative number is not a real number")
	}
	c := pow(a, b)
	if math.IsInf(c, 0) && !math.IsInf(a, 0) && !math.IsInf(b, 0) {
		in.fail(ErrValue, "the power is too large for a float")
	}
	return c
}

// pow is math.Pow, but rounded correctly where the exponent is a small multiple
// of a half, as it is in practice: math.Pow is off by a unit in the last place.
func pow(a, b float64) float64 {
	n := int64(math.Abs(b) * 2)
	if a == 0 || math.IsInf(a, 0) || math.IsNaN(a) || math.Abs(b)*2 != float64(n) || n > 4096 {
		return math.Pow(a, b)
	}
	const precision = 300
	x := new(big.Float).SetPrec(precision).SetFloat64(a)
	r := new(big.Float).SetPrec(precision).SetInt64(1)
	if n%2 == 1 {
		r.Sqrt(x)
	}
	for n /= 2; n > 0; n /= 2 {
		if n%2 == 1 {
			r.Mul(r, x)
		}
		x.Mul(x, x)
	}
	if b < 0 {
		r.Quo(new(big.Float).SetPrec(precision).SetInt64(1), r)
	}
	c, _ := r.Float64()
	return c
}

// floorDivide gives Python's quotient and rest of two floats.
func floorDivide(a, b float64) (q, r float64) {
	r = math.Mod(a, b)
	q = (a - r) / b
	if r != 0 {
		if (b < 0) != (r < 0) {
			r += b
			q--
		}
	} else {
		r = math.Copysign(0, b)
	}
	if q == 0 {
		return math.Copysign(0, a/b), r
	}
	f := math.Floor(q)
	if q-f > 0.5 {
		f++
	}
	return f, r
}
