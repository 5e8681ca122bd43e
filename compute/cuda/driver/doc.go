// Package driver calls the CUDA driver (libcuda.so.1) from a binary that is
// statically linked.
//
// The driver is a shared library of glibc's world: it wants a dynamic loader, a C
// library, thread-local storage and threads of its own. A static Go binary has none
// of them, and one that imports them (cgo, or its emulation in Go) names a loader and
// libc.so.6 in its header, so that it no longer starts where they are missing. Here
// neither gives way. On the first call of Load a thread is made that Go knows nothing
// of, and on it the machine's own ld.so runs as if the kernel had started it on an
// empty program:
//
//	Go's threads                  one thread of C
//	────────────────────────      ─────────────────────────────────────────────
//	Load ── clone ─────────────▶  ld.so: libc.so.6, its TLS, its heap
//	post, call ── ring ────────▶  worker: takes a command, calls the function,
//	wait ◀── count of done ─────  counts; sleeps on a futex when there is nothing
//
// The two meet in a ring of commands in memory that both see, and nowhere else: no
// goroutine ever runs on C's stack or with C's TLS, and no C ever on Go's. The thread
// blocks all signals before its first instruction, and so do the threads that the
// driver makes from it, so that Go's handlers run on Go's threads alone.
//
// What that costs: posting a command without waiting is a few stores; a call that waits
// pays the way to another thread and back, some microseconds when the worker sleeps.
// The ops of a device do not wait. What it needs: Linux on x86-64, a glibc with its
// loader at the usual place, and the driver. Where one is missing Load says so
// (ErrNoDriver), and nothing has been started or changed. A loader that fails on a
// broken libc ends the process, as it would end any other program.
//
// One thread and one driver serve the process: cuInit is the process's too. They are
// never unloaded; handles of contexts, memory, streams, events, modules and graphs are
// their owners' to free.
package driver
