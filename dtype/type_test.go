package dtype_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"nosa/dtype"
)

var all = []dtype.Type{
	dtype.F32, dtype.F16, dtype.BF16, dtype.I32, dtype.I64, dtype.U8, dtype.Q8_0, dtype.Q4_0, dtype.Q4_1, dtype.Q5_0,
	dtype.Q5_1, dtype.Q4_K, dtype.Q5_K, dtype.Q6_K,
}

func TestParse(t *testing.T) {
	for _, want := range all {
		for _, name := range []string{want.String(), strings.ToLower(want.String())} {
			got, err := dtype.Parse(name)
			if err != nil || got != want {
				t.Errorf("Parse(%q) = %v, %v, want %v", name, got, err, want)
			}
		}
	}
	for _, name := range []string{"", "invalid", "F33", "Q4_\u212a", "Q4_K_M", " F16"} {
		if got, err := dtype.Parse(name); !errors.Is(err, dtype.ErrUnknown) || got != dtype.Invalid {
			t.Errorf("Parse(%q) = %v, %v, want %v", name, got, err, dtype.ErrUnknown)
		}
	}
}

func TestSize(t *testing.T) {
	for name, tc := range map[string]struct {
		t        dtype.Type
		elements int
		want     int
		err      error
	}{
		"none":            {dtype.Q4_0, 0, 0, nil},
		"one block":       {dtype.Q4_0, 32, 18, nil},
		"many":            {dtype.Q6_K, 1024, 840, nil},
		"plain":           {dtype.I64, 3, 24, nil},
		"part of a block": {dtype.Q4_0, 33, 0, dtype.ErrSize},
		"negative":        {dtype.F32, -1, 0, dtype.ErrSize},
		"negative blocks": {dtype.Q8_0, -32, 0, dtype.ErrSize},
		"largest":         {dtype.U8, math.MaxInt, math.MaxInt, nil},
		"too many":        {dtype.F32, math.MaxInt/4 + 1, 0, dtype.ErrSize},
		"too many blocks": {dtype.Q8_0, math.MaxInt - 31, 0, dtype.ErrSize},
		"no format":       {dtype.Invalid, 4, 0, dtype.ErrUnknown},
		"unknown format":  {dtype.Type(200), 4, 0, dtype.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.t.Size(tc.elements)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("%v.Size(%d) = %d, %v, want %d, %v", tc.t, tc.elements, got, err, tc.want, tc.err)
			}
		})
	}
}

func TestQuantised(t *testing.T) {
	for _, typ := range all {
		if got, want := typ.Quantised(), strings.HasPrefix(typ.String(), "Q"); got != want {
			t.Errorf("%v.Quantised() = %v", typ, got)
		}
		if !typ.Valid() {
			t.Errorf("%v.Valid() = false", typ)
		}
	}
	if dtype.Invalid.Valid() || dtype.Type(200).Valid() {
		t.Error("an invalid type says that it is valid")
	}
	if got := dtype.Type(200).String(); got != "invalid(200)" {
		t.Errorf("Type(200).String() = %q", got)
	}
}
