//go:build linux && amd64

package train

import (
	"testing"

	"nosa/compute/computetest"
)

// TestDocuments holds attention over packed documents and its gradients against their definitions.
func TestDocuments(t *testing.T) { computetest.RunDocuments(t, open(t), computetest.BFloat16) }

// TestAttentionGradients: and against PyTorch's autograd, within two roundings of a factor.
func TestAttentionGradients(t *testing.T) { computetest.RunAttentionGradients(t, open(t), 2./256) }
