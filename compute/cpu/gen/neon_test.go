package main

import "testing"

// TestEncode: words are those that another assembler (GNU as 2.40 for aarch64) makes of
// the same text.
func TestEncode(t *testing.T) {
	held := map[string]bool{}
	for _, tc := range []struct {
		name          string
		d, n, m, lane int
		word          uint32
		text          string
	}{
		{"addv", 17, 5, 0, 0, 0x4eb1b8b1, "addv s17, v5.4s"},
		{"bic", 1, 2, 3, 0, 0x4e631c41, "bic v1.16b, v2.16b, v3.16b"},
		{"fabs", 6, 7, 0, 0, 0x4ea0f8e6, "fabs v6.4s, v7.4s"},
		{"fadd", 1, 2, 3, 0, 0x4e23d441, "fadd v1.4s, v2.4s, v3.4s"},
		{"faddp", 31, 30, 29, 0, 0x6e3dd7df, "faddp v31.4s, v30.4s, v29.4s"},
		{"faddp.2d", 17, 5, 20, 0, 0x6e74d4b1, "faddp v17.2d, v5.2d, v20.2d"},
		{"fcmge", 6, 7, 8, 0, 0x6e28e4e6, "fcmge v6.4s, v7.4s, v8.4s"},
		{"fcmgt", 1, 2, 3, 0, 0x6ea3e441, "fcmgt v1.4s, v2.4s, v3.4s"},
		{"fcvtl", 31, 30, 0, 0, 0x0e217bdf, "fcvtl v31.4s, v30.4h"},
		{"fcvtl.2d", 17, 5, 0, 0, 0x0e6178b1, "fcvtl v17.2d, v5.2s"},
		{"fcvtl2", 6, 7, 0, 0, 0x4e2178e6, "fcvtl2 v6.4s, v7.8h"},
		{"fcvtl2.2d", 1, 2, 0, 0, 0x4e617841, "fcvtl2 v1.2d, v2.4s"},
		{"fcvtns", 31, 30, 0, 0, 0x4e21abdf, "fcvtns v31.4s, v30.4s"},
		{"fcvtns.2d", 17, 5, 0, 0, 0x4e61a8b1, "fcvtns v17.2d, v5.2d"},
		{"fdiv", 6, 7, 8, 0, 0x6e28fce6, "fdiv v6.4s, v7.4s, v8.4s"},
		{"fdiv.2d", 1, 2, 3, 0, 0x6e63fc41, "fdiv v1.2d, v2.2d, v3.2d"},
		{"fmax", 31, 30, 29, 0, 0x4e3df7df, "fmax v31.4s, v30.4s, v29.4s"},
		{"fmaxp", 17, 5, 20, 0, 0x6e34f4b1, "fmaxp v17.4s, v5.4s, v20.4s"},
		{"fmaxv", 6, 7, 0, 0, 0x6e30f8e6, "fmaxv s6, v7.4s"},
		{"fmin", 1, 2, 3, 0, 0x4ea3f441, "fmin v1.4s, v2.4s, v3.4s"},
		{"fmla.lane", 6, 7, 8, 2, 0x4f8818e6, "fmla v6.4s, v7.4s, v8.s[2]"},
		{"fmul", 31, 30, 29, 0, 0x6e3ddfdf, "fmul v31.4s, v30.4s, v29.4s"},
		{"fmul.lane", 17, 5, 20, 1, 0x4fb490b1, "fmul v17.4s, v5.4s, v20.s[1]"},
		{"fneg", 6, 7, 0, 0, 0x6ea0f8e6, "fneg v6.4s, v7.4s"},
		{"frintn", 1, 2, 0, 0, 0x4e218841, "frintn v1.4s, v2.4s"},
		{"fsub", 31, 30, 29, 0, 0x4ebdd7df, "fsub v31.4s, v30.4s, v29.4s"},
		{"sadalp", 6, 7, 0, 0, 0x4e6068e6, "sadalp v6.4s, v7.8h"},
		{"scvtf", 1, 2, 0, 0, 0x4e21d841, "scvtf v1.4s, v2.4s"},
		{"sdot", 31, 30, 29, 0, 0x4e9d97df, "sdot v31.4s, v30.16b, v29.16b"},
		{"sdot.lane", 17, 5, 20, 1, 0x4fb4e0b1, "sdot v17.4s, v5.16b, v20.4b[1]"},
		{"shll", 6, 7, 0, 0, 0x2e6138e6, "shll v6.4s, v7.4h, #16"},
		{"shll2", 1, 2, 0, 0, 0x6e613841, "shll2 v1.4s, v2.8h, #16"},
		{"smax", 31, 30, 29, 0, 0x4ebd67df, "smax v31.4s, v30.4s, v29.4s"},
		{"smin", 17, 5, 20, 0, 0x4eb46cb1, "smin v17.4s, v5.4s, v20.4s"},
		{"smlal", 6, 7, 8, 0, 0x0e6880e6, "smlal v6.4s, v7.4h, v8.4h"},
		{"smull", 1, 2, 3, 0, 0x0e23c041, "smull v1.8h, v2.8b, v3.8b"},
		{"sqxtn", 31, 30, 0, 0, 0x0ea14bdf, "sqxtn v31.2s, v30.2d"},
		{"sqxtn2", 17, 5, 0, 0, 0x4ea148b1, "sqxtn2 v17.4s, v5.2d"},
		{"sxtl.4s", 6, 7, 0, 0, 0x0f10a4e6, "sxtl v6.4s, v7.4h"},
		{"sxtl.8h", 1, 2, 0, 0, 0x0f08a441, "sxtl v1.8h, v2.8b"},
		{"sxtl2.4s", 31, 30, 0, 0, 0x4f10a7df, "sxtl2 v31.4s, v30.8h"},
		{"sxtl2.8h", 17, 5, 0, 0, 0x4f08a4b1, "sxtl2 v17.8h, v5.16b"},
		{"ucvtf", 6, 7, 0, 0, 0x6e21d8e6, "ucvtf v6.4s, v7.4s"},
		{"umaxv", 31, 30, 0, 0, 0x6eb0abdf, "umaxv s31, v30.4s"},
	} {
		held[tc.name] = true
		if word, text := encode(tc.name, tc.d, tc.n, tc.m, tc.lane); word != tc.word || text != tc.text {
			t.Errorf("%s is %#08x, %q, want %#08x, %q", tc.name, word, text, tc.word, tc.text)
		}
	}
	for name, in := range instructions {
		if in.code != 0 && !held[name] {
			t.Errorf("%s is held against nothing", name)
		}
	}
}
