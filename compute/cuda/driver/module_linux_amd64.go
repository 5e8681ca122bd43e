package driver

import (
	"fmt"
	"runtime"
	"unsafe"
)

// LoadModule loads a fatbin: the driver picks the machine code for its GPU, or compiles
// the PTX in it.
func (c *Context) LoadModule(image []byte) (Module, error) {
	// The image may lie in the heap, which does not move; it is only read meanwhile.
	h, err := c.get(cuModuleLoadData, uintptr(unsafe.Pointer(unsafe.SliceData(image))))
	runtime.KeepAlive(image)
	return Module(h), err
}

// FreeModule unloads a module.
func (c *Context) FreeModule(m Module) error { return c.do(cuModuleUnload, uintptr(m)) }

// Function finds a kernel.
func (c *Context) Function(m Module, name string) (Function, error) {
	c.d.t.calls.Lock()
	defer c.d.t.calls.Unlock()
	p, err := c.d.t.text(name)
	if err != nil {
		return 0, err
	}
	if err := c.locked(cuModuleGetFunction, c.d.outAt(0), uintptr(m), p); err != nil {
		return 0, fmt.Errorf("kernel %s: %w", name, err)
	}
	return Function(c.d.word(0)), nil
}

// Attribute is a number that the compiler or the driver keeps of a kernel.
type Attribute uintptr

// Attributes of kernels.
const (
	MaxThreads        Attribute = 0
	SharedBytes       Attribute = 1
	LocalBytes        Attribute = 3
	Registers         Attribute = 4
	MaxDynamicShared  Attribute = 8
	PreferredCarveout Attribute = 9
)

// FunctionAttribute reads one.
func (c *Context) FunctionAttribute(f Function, a Attribute) (int, error) {
	v, err := c.get(cuFuncGetAttribute, uintptr(a), uintptr(f))
	return int(int32(v)), err
}

// SetFunctionAttribute sets one.
func (c *Context) SetFunctionAttribute(f Function, a Attribute, v int) error {
	return c.do(cuFuncSetAttribute, uintptr(f), uintptr(a), uintptr(v))
}

// Dim is the size of a grid or a block.
type Dim struct{ X, Y, Z int }

// Launch posts a kernel of one parameter, a struct of at most ParamBytes−8 bytes, that
// is copied.
func (c *Context) Launch(f Function, grid, block Dim, shared int, s Stream, params []byte) {
	if len(params) > ParamBytes-8 {
		panic(fmt.Sprintf("driver: a parameter of %d bytes, at most %d", len(params), ParamBytes-8))
	}
	const paramsAt = 9
	args := [...]uintptr{
		uintptr(f), uintptr(grid.X), uintptr(grid.Y), uintptr(grid.Z),
		uintptr(block.X), uintptr(block.Y), uintptr(block.Z), uintptr(shared), uintptr(s), 0, 0,
	}
	c.enter()
	c.d.t.post(c.fail, uintptr(cuLaunchKernel), c.d.at[cuLaunchKernel], args[:], params, paramsAt)
	c.leave()
}

// BeginCapture makes the stream record what is posted to it instead of doing it.
func (c *Context) BeginCapture(s Stream) error {
	const threadLocal = 1
	return c.do(cuStreamBeginCapture, uintptr(s), threadLocal)
}

// EndCapture returns what was recorded.
func (c *Context) EndCapture(s Stream) (Graph, error) {
	c.d.t.calls.Lock()
	defer c.d.t.calls.Unlock()
	err := c.locked(cuStreamEndCapture, uintptr(s), c.d.outAt(0))
	return Graph(c.d.word(0)), err
}

// FreeGraph gives a recording back.
func (c *Context) FreeGraph(g Graph) error { return c.do(cuGraphDestroy, uintptr(g)) }

// Instantiate makes a recording ready to launch.
func (c *Context) Instantiate(g Graph) (GraphExec, error) {
	h, err := c.get(cuGraphInstantiateWithFlags, uintptr(g), 0)
	return GraphExec(h), err
}

// UpdateGraph gives a ready graph the parameters of a recording of the same shape.
func (c *Context) UpdateGraph(x GraphExec, g Graph) error {
	c.d.t.calls.Lock()
	defer c.d.t.calls.Unlock()
	return c.locked(cuGraphExecUpdate, uintptr(x), uintptr(g), c.d.outAt(0))
}

// LaunchGraph posts a graph.
func (c *Context) LaunchGraph(x GraphExec, s Stream) {
	c.post(cuGraphLaunch, uintptr(x), uintptr(s))
}

// FreeGraphExec gives a ready graph back.
func (c *Context) FreeGraphExec(x GraphExec) error { return c.do(cuGraphExecDestroy, uintptr(x)) }
