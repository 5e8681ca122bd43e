package computetest

import (
	"testing"

	"nosa/compute"
)

// TestReferenceDocuments: the definitions of attention over packed documents agree with
// themselves, and no document sees another.
func TestReferenceDocuments(t *testing.T) { RunDocuments(t, compute.Reference{}, Tolerance{}) }

// TestReferenceChoices: a document chooses alike wherever it lies.
func TestReferenceChoices(t *testing.T) { RunChoices(t, compute.Reference{}, Tolerance{}) }

// TestReferenceAttentionGradients: the definitions are what autograd says.
func TestReferenceAttentionGradients(t *testing.T) {
	RunAttentionGradients(t, compute.Reference{}, 1e-6)
}
