//go:build race

package cpu

// raced: the race detector is on, which makes tests twenty times as long.
const raced = true
