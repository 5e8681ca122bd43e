//go:build !noasm

package cpu

import (
	"sync"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// Of arch_prctl(2): a process asks for the state of tiles before it first uses them.
const (
	archRequestState = 0x1023
	stateTileData    = 18
)

// hasAMX says whether the processor has tiles of bfloat16 and the system lets us use them.
var hasAMX = sync.OnceValue(func() bool {
	if !cpu.X86.HasAMXTile || !cpu.X86.HasAMXBF16 {
		return false
	}
	_, _, refused := unix.RawSyscall(unix.SYS_ARCH_PRCTL, archRequestState, stateTileData, 0)
	return refused == 0
})
