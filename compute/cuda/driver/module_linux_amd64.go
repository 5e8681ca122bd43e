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

// AllowShared lets the blocks of a kernel have so much shared memory, of which its own
// variables are a part.
func (c *Context) AllowShared(f Function, bytes int) error {
	fixed, err := c.FunctionAttribute(f, SharedBytes)
	if err != nil {
		return err
	}
	return c.SetFunctionAttribute(f, MaxDynamicShared, bytes-fixed)
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

// LaunchEarly is Launch of a kernel that may start before the one ahead of it in the stream
// has ended, when all of that one's blocks have allowed it: it waits itself, before it reads
// what others write or writes what they read. Where the driver is too old it does not start
// before.
func (c *Context) LaunchEarly(f Function, grid, block Dim, shared int, s Stream, params []byte) {
	if c.d.at[cuLaunchKernelEx] == 0 {
		c.Launch(f, grid, block, shared, s, params)
		return
	}
	c.launchWith(f, grid, block, shared, s, params, mayStartEarly)
}

// LaunchClusters is Launch of a kernel whose blocks run in clusters of that size, by which the
// grid's can be divided; early: it is LaunchEarly. GPUs that have clusters have drivers that know
// both.
func (c *Context) LaunchClusters(f Function, grid, cluster, block Dim, early bool, shared int, s Stream, params []byte) {
	const clusterDimension = 4
	size := words(cluster)
	of := launchAttribute{id: clusterDimension, value: [16]uint32{size[0], size[1], size[2]}}
	if early {
		c.launchWith(f, grid, block, shared, s, params, of, mayStartEarly)
		return
	}
	c.launchWith(f, grid, block, shared, s, params, of)
}

// mayStartEarly is programmatic stream serialization.
var mayStartEarly = launchAttribute{id: 6, value: [16]uint32{1}}

func (c *Context) launchWith(f Function, grid, block Dim, shared int, s Stream, params []byte, attributes ...launchAttribute) {
	if len(params) > launchAt {
		panic(fmt.Sprintf("driver: a parameter of %d bytes, at most %d", len(params), launchAt))
	}
	x := launchConfig{grid: words(grid), block: words(block), shared: uint32(shared), stream: s, attributes: uint32(len(attributes))}
	copy(x.attribute[:], attributes)
	c.enter()
	c.d.t.postLaunch(c.fail, uintptr(cuLaunchKernelEx), c.d.at[cuLaunchKernelEx], uintptr(f), params, &x)
	c.leave()
}

func words(d Dim) [3]uint32 { return [3]uint32{uint32(d.X), uint32(d.Y), uint32(d.Z)} }

// launchConfig is CUlaunchConfig, and behind it the attributes that it names.
type launchConfig struct {
	grid, block [3]uint32
	shared      uint32
	stream      Stream
	at          uintptr // of attribute
	attributes  uint32
	attribute   [2]launchAttribute
}

type launchAttribute struct {
	id    uint32
	_     uint32
	value [16]uint32
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
