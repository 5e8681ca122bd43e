// Package house holds no code: its test keeps the order of the house, in which
// rooms import downwards only. The table of rooms is in house_test.go.
package house
