// How far ahead of their reading, in bytes, weights are asked for: a decode step
// streams them from memory, in short runs between which the hardware's own
// prefetching loses track.
#define AHEAD 4096
