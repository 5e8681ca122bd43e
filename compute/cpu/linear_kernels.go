package cpu

import "nosa/dtype"

// linearKernels are what Linear and Embed are made of.
type linearKernels struct {
	few  streamKernels // rows
	many panelKernels

	// expand is dtype.Decode, bit for bit except for the payloads of NaNs.
	expand func(t dtype.Type, dst []float32, src []byte)
}

var linearGo = linearKernels{few: streamsGo, expand: dtype.Decode}
