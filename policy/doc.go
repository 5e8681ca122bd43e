// Package policy makes the KV cache of a sequence smaller than its text: published methods
// that drop, merge or re-encode tokens, one file each, registered in method.go.
//
//	Method   what users name, with its Options: --policy NAME[:key=value,…]
//	Policy   a method with its options, for one model
//	State    what it knows of one sequence: at which lengths it compresses, and what
//	Layer    the view that a state has of one layer: cells, keys, values, weights
//
// A state is asked at which lengths of the text it wants to compress (Next), and is called for
// each layer, in order, when all rows before that length have attended there (Compress). A
// method that prunes once says the prompt's length and then Never; one that keeps a budget
// while it generates says every length after that. Steps are cut at these lengths, layer by
// layer, so that nothing depends on how a prompt was cut into chunks, or on what runs beside it.
//
// # What a layer looks like afterwards
//
// A KV head's cells lie in blocks of the sequence's table, as before, but the table has holes:
//
//	whole       [0][1][2][3][4](5)        every block; (5) is open: the tail
//	Keep        [ ][ ][A][ ][B](5)        what is left of blocks 0 to 4, packed into two new ones
//	decode      [ ][ ][A][ ][B][5](6)     the text goes on at its true positions
//
// New tokens have their true positions, whatever has been dropped before them: they are rotated
// with those, and lie in the block of that number. Cells that stay keep the rotation that they
// had. A packed block has a number below that of the open one, so that causal order is still
// the order of numbers, and sums go by number as everywhere. Each KV head has holes of its own.
//
// Places of a block without a cell, and cells of the open block that were dropped, are masked:
// a bias per place, which enters the logit, is −∞ there. It is 0 for a token as it was, and
// what the policy says for a merged one. Cells are masked until at least a whole block can be
// won, then packed: so a method that drops a token a step copies once in as many steps as a
// block has tokens, and what is held is at most a block for each KV head above what its cells
// take.
//
// What is not in a table any more has left all tiers: slot, page and record come back. A block
// that others hold too, or that is published for them, is never changed: it is let go, and
// what is left of it is in a block of the sequence's own.
//
// # Rules
//
//   - A policy's choice depends on the text, the model and its options alone: not on tiers,
//     company, chunks or time. Ties go to the lower position.
//   - Blocks are shared between requests as they were computed, before any policy came to
//     them, and only between those with the same policy and options.
//   - A policy sees rotated keys, rounded to the cache's format, but for those in the open
//     block.
//   - Without a policy nothing of this is there: same bits, same speed.
//
// # Adding a method
//
// One file that begins with what the method does, the paper, what it holds and what it costs; a
// line in method.go; and a test that holds it against worked numbers by policytest.Layer. That the
// cache agrees with plain memory, wherever it lies, is for the shared tests: add the method to
// those of model's TestCompressed and engine's policies_test.go.
//
// See docs/policies.md for what goes together.
package policy
