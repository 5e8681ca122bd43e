package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"nosa/client"
)

// ServerFlags are shared by the commands that ask a server.
type ServerFlags struct {
	Name    string `name:"model" placeholder:"NAME" help:"Name of the model in the server's API; by default its first."`
	KeyFile string `name:"api-key-file" placeholder:"FILE" help:"File with the key, or those of nosa serve, of which the first counts; by default the key is in NOSA_API_KEY."`
}

// keyVariable is where a key is looked for that no file has. It is never on the command line, which others can read.
const keyVariable = "NOSA_API_KEY"

// mostKeyFile bounds the file of a key.
const mostKeyFile = 4 << 20

// connect makes a client of the server.
func (f *ServerFlags) connect(g *Globals, address string, connections int) (*client.Client, error) {
	key := strings.TrimSpace(g.Getenv(keyVariable))
	if f.KeyFile != "" {
		var err error
		if key, err = readKey(f.KeyFile); err != nil {
			return nil, fmt.Errorf("--api-key-file %s: %w", f.KeyFile, err)
		}
	}
	c, err := client.New(address, client.Options{Key: key, Connections: connections})
	if err != nil {
		return nil, usage("%v", err)
	}
	return c, nil
}

// readKey finds the first key of a file: one a line, alone or after a name and a blank, as `nosa serve` reads it.
func readKey(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", reason(err)
	}
	defer func() { _ = file.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(file, mostKeyFile))
	if err != nil {
		return "", reason(err)
	}
	for line := range strings.Lines(string(data)) {
		switch words := strings.Fields(line); {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
		case len(words) > 2:
			return "", fmt.Errorf("a line has %d words: want a key, or a name and a key", len(words))
		default:
			return words[len(words)-1], nil
		}
	}
	return "", fmt.Errorf("there is no key in it")
}

// model is the name to ask for.
func (f *ServerFlags) model(ctx context.Context, c *client.Client) (string, error) {
	if f.Name != "" {
		return f.Name, nil
	}
	names, err := c.Models(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s/models: %w: is the server there? --model NAME goes without this question", c.Address(), err)
	case len(names) == 0:
		return "", fmt.Errorf("%s/models: there is no model: say --model NAME", c.Address())
	}
	return names[0], nil
}
