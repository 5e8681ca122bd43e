package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/compute/cuda"
	"nosa/compute/cuda/step"
	cudatrain "nosa/compute/cuda/train"
)

// levelVariable names the kernels of the processor; without it they are the best.
const levelVariable = "NOSA_CPU_LEVEL"

// newDevice turns --device, --threads, --numerics and the level of the environment
// into a device: with newTrainer the one place that knows which there are.
func newDevice(name string, threads int, numerics compute.Numerics, level string) (compute.Device, error) {
	return openDevice(name, threads,
		func() (compute.Device, error) {
			return cpu.New(cpu.Options{Threads: threads, Numerics: numerics, Level: level})
		},
		func(n int) (compute.Device, error) {
			dev, err := step.New(cuda.Options{GPU: n, Numerics: numerics})
			if errors.Is(err, cuda.ErrNumerics) {
				return nil, usage("--numerics %v: %w", numerics, cuda.ErrNumerics)
			}
			return dev, err
		})
}

// newTrainer is newDevice for a device that trains.
func newTrainer(name string, threads int, level string) (compute.Trainer, error) {
	return openDevice(name, threads,
		func() (compute.Trainer, error) {
			return cpu.New(cpu.Options{Threads: threads, Numerics: compute.NumericsF32, Level: level})
		},
		func(n int) (compute.Trainer, error) { return cudatrain.Open(n) })
}

// openDevice opens the device that --device names.
func openDevice[D compute.Device](name string, threads int, onCPU func() (D, error), onGPU func(n int) (D, error)) (D, error) {
	var none D
	if threads < 0 || threads > 4096 {
		return none, usage("--threads %d: want 0 (all processors) to 4096", threads)
	}
	switch kind, number, numbered := strings.Cut(name, ":"); kind {
	case "cpu":
		if name != "cpu" {
			return none, usage("--device %s: cpu takes no number", name)
		}
		dev, err := onCPU()
		if errors.Is(err, cpu.ErrLevel) {
			return none, usage("%s: %w", levelVariable, err)
		}
		if err != nil {
			return none, err
		}
		return dev, nil
	case "cuda":
		n, err := gpuNumber(number, numbered)
		if err != nil {
			return none, err
		}
		dev, err := onGPU(n)
		if errors.Is(err, cuda.ErrNumerics) {
			return none, err
		}
		if err != nil {
			return none, fmt.Errorf("--device %s: %w: use --device cpu", name, err)
		}
		return dev, nil
	}
	return none, usage("--device %q is unknown: use cpu or cuda[:n]", name)
}

// gpuNumber reads the n of cuda[:n].
func gpuNumber(number string, numbered bool) (int, error) {
	n, err := strconv.Atoi(number)
	if numbered && (err != nil || n < 0 || n > 255) {
		return 0, usage("--device cuda:%s: want cuda, or cuda:n with the number of a GPU", number)
	}
	return n, nil
}
