//go:build !(linux && amd64)

package train

import "nosa/compute"

func peakOf(compute.Trainer) float64 { return 0 }

func clockOf(dev compute.Trainer) clock { return &hostClock{dev: dev} }
