#include "textflag.h"

// The offsets of ring_linux_amd64.go.
#define HEAD     0
#define TAIL     64
#define ASLEEP   128
#define WANTED   192
#define ENTRIES  4096
#define E_FN     0
#define E_INTO   8
#define E_FAIL   16
#define E_TAG    24
#define E_ARGS   32

#define SYS_rt_sigprocmask 14
#define SYS_clone 56
#define SYS_futex 202

// func clone(stack, entry uintptr) int
// A thread of this process that runs entry on a stack, with all signals blocked from
// its first instruction on. It shares what Go's own threads share; it never runs Go.
TEXT ·clone(SB), NOSPLIT, $32-24
	MOVQ $-1, AX
	MOVQ AX, 0(SP)
	MOVQ $2, DI            // SIG_SETMASK
	LEAQ 0(SP), SI
	LEAQ 8(SP), DX
	MOVQ $8, R10
	MOVQ $SYS_rt_sigprocmask, AX
	SYSCALL

	MOVQ $0x50f00, DI      // VM, FS, FILES, SIGHAND, THREAD, SYSVSEM
	MOVQ stack+0(FP), SI
	MOVQ entry+8(FP), R12
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVQ $SYS_clone, AX
	SYSCALL
	CMPQ AX, $0
	JNE  parent

	// The child. SP is the new stack.
	XORL DX, DX
	XORL BP, BP
	JMP  R12

parent:
	MOVQ AX, 16(SP)
	MOVQ $2, DI
	LEAQ 8(SP), SI
	XORL DX, DX
	MOVQ $8, R10
	MOVQ $SYS_rt_sigprocmask, AX
	SYSCALL
	MOVQ 16(SP), AX
	MOVQ AX, ret+16(FP)
	RET

// worker is where ld.so goes when all is loaded: the entry point of the empty program.
// The stack is as a program finds it, argc and argv; 16 bytes into argv[0] is the ring.
// BX ring, R12 commands done, R13 spins left, R14 entry: C keeps them all.
TEXT ·worker(SB), NOSPLIT|NOFRAME|TOPFRAME, $0-0
	MOVQ SP, AX
	MOVQ 8(AX), AX
	MOVQ 16(AX), BX
	MOVQ TAIL(BX), R12
	ANDQ $~15, SP
	SUBQ $64, SP           // arguments 7 to 12, and the alignment of 16

next:
	MOVQ $2000, R13

spin:
	MOVQ HEAD(BX), AX
	CMPQ AX, R12
	JNE  work
	PAUSE
	DECQ R13
	JNZ  spin

	// Nothing for a while: say so, look once more, sleep.
	MOVL $1, AX
	XCHGL AX, ASLEEP(BX)
	MOVQ HEAD(BX), AX
	CMPQ AX, R12
	JNE  awake
	LEAQ ASLEEP(BX), DI
	MOVL $128, SI          // FUTEX_WAIT, private
	MOVL $1, DX
	XORL R10, R10
	MOVL $SYS_futex, AX
	SYSCALL

awake:
	MOVL $0, ASLEEP(BX)
	JMP  next

work:
	MOVQ R12, R14
	ANDQ $1023, R14
	SHLQ $10, R14
	LEAQ ENTRIES(R14)(BX*1), R14

	MOVQ SP, R11
	MOVQ (E_ARGS+48)(R14), AX
	MOVQ AX, 0(R11)
	MOVQ (E_ARGS+56)(R14), AX
	MOVQ AX, 8(R11)
	MOVQ (E_ARGS+64)(R14), AX
	MOVQ AX, 16(R11)
	MOVQ (E_ARGS+72)(R14), AX
	MOVQ AX, 24(R11)
	MOVQ (E_ARGS+80)(R14), AX
	MOVQ AX, 32(R11)
	MOVQ (E_ARGS+88)(R14), AX
	MOVQ AX, 40(R11)
	MOVQ (E_ARGS+0)(R14), DI
	MOVQ (E_ARGS+8)(R14), SI
	MOVQ (E_ARGS+16)(R14), DX
	MOVQ (E_ARGS+24)(R14), CX
	MOVQ (E_ARGS+32)(R14), R8
	MOVQ (E_ARGS+40)(R14), R9
	MOVQ E_FN(R14), R10
	XORL AX, AX            // no vector arguments
	CALL R10
	MOVQ E_INTO(R14), CX
	TESTQ CX, CX
	JZ   judge
	MOVQ AX, 0(CX)

judge:
	// The first failure of its kind is kept. Results of the driver are 32 bits.
	MOVQ E_FAIL(R14), CX
	TESTQ CX, CX
	JZ   done
	TESTL AX, AX
	JZ   done
	CMPQ 0(CX), $0
	JNE  done
	MOVQ E_TAG(R14), DX
	MOVQ DX, 8(CX)
	MOVL AX, AX
	MOVQ AX, 0(CX)

done:
	INCQ R12
	MOVQ R12, TAIL(BX)
	MFENCE
	CMPL WANTED(BX), $0
	JE   next
	LEAQ TAIL(BX), DI
	MOVL $129, SI          // FUTEX_WAKE, private
	MOVL $0x7fffffff, DX
	MOVL $SYS_futex, AX
	SYSCALL
	JMP  next

// nothing is a function of C that does nothing: the first command.
TEXT ·nothing(SB), NOSPLIT|NOFRAME, $0-0
	XORL AX, AX
	RET

// func nothingAddress() uintptr
TEXT ·nothingAddress(SB), NOSPLIT, $0-8
	MOVQ $·nothing(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func workerAddress() uintptr
TEXT ·workerAddress(SB), NOSPLIT, $0-8
	MOVQ $·worker(SB), AX
	MOVQ AX, ret+0(FP)
	RET
