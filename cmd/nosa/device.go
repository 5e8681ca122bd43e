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
// into a device: the one place that knows which there are.
func newDevice(name string, threads int, numerics compute.Numerics, level string) (compute.Device, error) {
	if err := checkThreads(threads); err != nil {
		return nil, err
	}
	switch kind, number, numbered := strings.Cut(name, ":"); kind {
	case "cpu":
		dev, err := newCPU(name, threads, numerics, level)
		if err != nil {
			return nil, err
		}
		return dev, nil
	case "cuda":
		n, err := gpuNumber(number, numbered)
		if err != nil {
			return nil, err
		}
		dev, err := step.New(cuda.Options{GPU: n, Numerics: numerics})
		if errors.Is(err, cuda.ErrNumerics) {
			return nil, usage("--numerics %v: %w", numerics, cuda.ErrNumerics)
		}
		if err != nil {
			return nil, fmt.Errorf("--device %s: %w: use --device cpu", name, err)
		}
		return dev, nil
	}
	return nil, usage("--device %q is unknown: use cpu or cuda[:n]", name)
}

// newTrainer is newDevice for a device that trains.
func newTrainer(name string, threads int, level string) (compute.Trainer, error) {
	if err := checkThreads(threads); err != nil {
		return nil, err
	}
	switch kind, number, numbered := strings.Cut(name, ":"); kind {
	case "cpu":
		dev, err := newCPU(name, threads, compute.NumericsF32, level)
		if err != nil {
			return nil, err
		}
		return dev, nil
	case "cuda":
		n, err := gpuNumber(number, numbered)
		if err != nil {
			return nil, err
		}
		dev, err := cudatrain.Open(n)
		if err != nil {
			return nil, fmt.Errorf("--device %s: %w: use --device cpu", name, err)
		}
		return dev, nil
	}
	return nil, usage("--device %q is unknown: use cpu or cuda[:n]", name)
}

func checkThreads(n int) error {
	if n < 0 || n > 4096 {
		return usage("--threads %d: want 0 (all processors) to 4096", n)
	}
	return nil
}

func newCPU(name string, threads int, numerics compute.Numerics, level string) (*cpu.Device, error) {
	if name != "cpu" {
		return nil, usage("--device %s: cpu takes no number", name)
	}
	dev, err := cpu.New(cpu.Options{Threads: threads, Numerics: numerics, Level: level})
	if errors.Is(err, cpu.ErrLevel) {
		return nil, usage("%s: %w", levelVariable, err)
	}
	return dev, err
}

// gpuNumber reads the n of cuda[:n].
func gpuNumber(number string, numbered bool) (int, error) {
	n, err := strconv.Atoi(number)
	if numbered && (err != nil || n < 0 || n > 255) {
		return 0, usage("--device cuda:%s: want cuda, or cuda:n with the number of a GPU", number)
	}
	return n, nil
}
