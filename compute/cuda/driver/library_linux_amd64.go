package driver

import (
	"fmt"
	"unsafe"
)

// symbolFunction is dlsym, under the name that this libc has for it.
func (t *thread) symbolFunction() uintptr { return t.firstWord("dlsym", "__libc_dlsym") }

// firstWord is the first of the names that libc has.
func (t *thread) firstWord(names ...string) uintptr {
	for _, n := range names {
		if w := t.prog.word(n); w != 0 {
			return w
		}
	}
	return 0
}

// text puts a string where C reads it. The caller holds calls.
func (r *ring) text(s string) (uintptr, error) {
	if len(s) >= outBytes/2 {
		return 0, fmt.Errorf("a name of %d bytes is too long", len(s))
	}
	at := r.out[outBytes/2:]
	at[copy(at, s)] = 0
	return uintptr(unsafe.Pointer(&at[0])), nil
}

// open loads a shared library.
func (t *thread) open(name string) (uintptr, error) {
	t.calls.Lock()
	defer t.calls.Unlock()
	p, err := t.text(name)
	if err != nil {
		return 0, err
	}
	const now = 2
	if h := t.call(t.firstWord("dlopen", "__libc_dlopen_mode"), p, now); h != 0 {
		return h, nil
	}
	why := name + " can not be loaded"
	if fn := t.prog.word("dlerror"); fn != 0 {
		if s := t.call(fn); s != 0 {
			why = cString(s)
		}
	}
	return 0, fmt.Errorf("%w: %s", ErrNoDriver, why)
}

// symbol finds a function of a library, or 0.
func (t *thread) symbol(library uintptr, name string) uintptr {
	t.calls.Lock()
	defer t.calls.Unlock()
	p, err := t.text(name)
	if err != nil {
		return 0
	}
	return t.call(t.symbolFunction(), library, p)
}

// cString copies a string of C's, up to a bound.
func cString(p uintptr) string {
	base := *(*unsafe.Pointer)(unsafe.Pointer(&p)) // C's memory, which no collector moves
	var s []byte
	for i := range 4096 {
		c := *(*byte)(unsafe.Add(base, i))
		if c == 0 {
			break
		}
		s = append(s, c)
	}
	return string(s)
}
