// Command randommodel writes a GGUF file of a named Llama shape with random weights, for measurements: its text means
// nothing, its speed is that of a trained model of the shape. nosa and llama.cpp both load it.
//
//	go run ./randommodel -shape 1.1b -dtype q8_0 -o llama-1.1b-q8_0.gguf
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"nosa/bench"
)

func main() {
	shape := flag.String("shape", "1.1b", "the model's `size`: tiny, 135m, 1.1b or 8b")
	format := flag.String("dtype", "q8_0", "the weights' `format`: q8_0, q4_0, f16, bf16 or f32")
	seed := flag.Uint64("seed", 1, "of the random weights; the same seed writes the same file")
	out := flag.String("o", "", "the `file` to write, which must not exist (required)")
	flag.Parse()
	if *out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(*shape+":"+*format, *out, *seed); err != nil {
		fmt.Fprintf(os.Stderr, "randommodel: %v\n", err)
		os.Exit(1)
	}
}

// write makes the file, with a line of progress every few seconds.
func write(name, path string, seed uint64) error {
	shape, format, err := bench.ParseShape(name)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	start, told := time.Now(), time.Now()
	err = shape.WriteRandom(ctx, path, format, seed, func(done, total int64) {
		if now := time.Now(); now.Sub(told) > 5*time.Second {
			told = now
			fmt.Fprintf(os.Stderr, "%3d%%  %d of %d MB\n", 100*done/total, done/1e6, total/1e6)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %.2f billion weights in %s, %s\n", path, float64(shape.Parameters())/1e9, format,
		time.Since(start).Round(100*time.Millisecond))
	return nil
}
