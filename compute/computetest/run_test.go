package computetest

import (
	"testing"

	"nosa/compute"
)

// TestReference: the definitions agree with themselves, and keep what the
// contract promises to the bit.
func TestReference(t *testing.T) { Run(t, compute.Reference{}, Tolerance{}) }

// TestReferenceGradients: so do those of training.
func TestReferenceGradients(t *testing.T) { RunGradients(t, compute.Reference{}, Tolerance{}) }
