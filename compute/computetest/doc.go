// Package computetest compares a device with the definitions of package compute.
//
// It is one suite for every device: [Run] draws inputs from a logged seed, runs
// each op on the device and on compute.Reference, and holds the results against
// each other within a tolerance that scales with what was summed. What the
// contract promises to the bit (a row alone and among others, a walk over blocks
// cut anywhere, a prompt appended in pieces, selection) is compared to the bit.
//
// All data goes through Alloc, Upload and Download, so it serves devices with
// memory of their own.
package computetest
