// Gen writes the assembly of nosa/compute/cpu whose routines differ only in
// widths, tiles and formats. Run it by `go generate ./compute/cpu`; the files that
// it writes are committed, and CI checks that they are its own.
package main

import (
	"flag"
	"log"
	"os"
	"path/filepath"
)

// files are all that gen writes, by name.
var files = map[string]func(*emitter){}

func main() {
	dir := flag.String("dir", ".", "folder to write to")
	flag.Parse()
	for name, write := range files {
		e := newEmitter()
		write(e)
		if err := os.WriteFile(filepath.Join(*dir, name), e.bytes(), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
