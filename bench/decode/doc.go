// Package decode measures whole decode steps on a GPU: a token for each of many long
// sequences of their own, random weights of a shape, caches filled at random; for several
// systems, batches and contexts, in one process on one machine.
//
//	Sweep ─→ Setting … ─→ Runner.Run ─→ Result    ms a step, tokens/s, hit rate, and how far
//	                                              that is from the roofline of package step
//	              all Results of a context ─→ Best   of each system, and its ratios
//
// A system is a design of the cache:
//
//	full      attention over every block, all on the device
//	infllmv2  selected blocks, all on the device
//	nosi      a slot for each selected block and no more, what a step does not select is
//	          given up, copies in series with compute: the reference's design
//	nosa      the memory that is left as one pool, least recently used first out, copies
//	          beside compute
//	readers   nosa, and every sequence reads the same document, whose blocks are there
//	          once; each selects blocks of its own choice
//
// The room prints nothing and knows no flag: cmd/nosa does.
package decode
