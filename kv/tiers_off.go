//go:build notiers

package kv

// tiered is false in a build that has slots alone, which is there to measure what the
// tiers cost when nothing uses them.
const tiered = false
