//go:build !noasm

#include "textflag.h"

// Eight lanes on, eight lanes off: the mask of r lanes begins at 32−4r.
DATA ·laneMask+0(SB)/8, $0xffffffffffffffff
DATA ·laneMask+8(SB)/8, $0xffffffffffffffff
DATA ·laneMask+16(SB)/8, $0xffffffffffffffff
DATA ·laneMask+24(SB)/8, $0xffffffffffffffff
DATA ·laneMask+32(SB)/8, $0
DATA ·laneMask+40(SB)/8, $0
DATA ·laneMask+48(SB)/8, $0
DATA ·laneMask+56(SB)/8, $0
GLOBL ·laneMask(SB), RODATA|NOPTR, $64
