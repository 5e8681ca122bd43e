// Package bench measures how fast a model runs: prefill and decode at depths, in
// batches, with several attention methods, beside what the machine could do and
// beside another program on the same file.
//
//	Config ─→ Run ─→ for each depth: every lane's streams are fed up to it, once
//	                   for each Test at that depth:
//	                     repeat times: lane 1, lane 2, …, peer, peer with flash attention
//	                     ─→ one Figure a lane, one Ratio a lane with a peer
//
// A lane is one attention method in an engine of its own. Runs alternate, so that
// what disturbs the machine for a while disturbs all of them. A depth is computed
// once: each run decodes from streams that take over the blocks of those that are
// held there.
//
// What a figure is held against is in machine.go (how fast the machine reads and
// computes) and traffic.go (what a token cannot do without). The room prints
// nothing and knows no flag: cmd/nosa does.
package bench
