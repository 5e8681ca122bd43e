// Package attention decides which blocks of the KV cache a query reads, and has
// them read: hops 6 to 11 of a decode step.
//
// A [Method] says what it keeps per token and how it selects: full, infllmv2,
// dma and nosa, one file each, registered in method.go. An [Attention] runs a
// method over one store: for every tile of queries that lie in one block it
//
//	appends    keys, values and scores to the tail, segment means to the summary
//	selects    block numbers, by the summaries alone
//	recalls    the selected blocks into slots, in as many rounds as they need
//	attends    over each round, then over the own block, in ascending order
//	seals      the tail, when it is full
//
// A device that takes tiles together (compute.TilesDevice) is given those of a prompt's step
// at once, in the same order of ops (together.go).
//
// Prefill and decode are the same walk; a decode step is a tile of one query. So
// a query gets the same bits however its prompt was cut.
//
// The package knows neither tiers nor requests: where a block comes from is kv's.
package attention
