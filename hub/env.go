package hub

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxToken bounds the file that a token is read from; a real one has some 40 bytes.
const maxToken = 4096

// FromEnv reads the settings that other tools of the hub take from the environment too:
//
//	HF_ENDPOINT                          the hub's address or a mirror's
//	HF_TOKEN, HUGGING_FACE_HUB_TOKEN     the token itself
//	HF_TOKEN_PATH, HF_HOME               where it is kept otherwise; by default ~/.cache/huggingface/token
//	HF_HUB_OFFLINE                       1: never use the network
//	NOSA_HOME, XDG_CACHE_HOME            the store; by default ~/.cache/nosa
//
// Proxies (HTTPS_PROXY, NO_PROXY) are read by the transport. getenv is os.Getenv, except in tests.
func FromEnv(getenv func(string) string) (Config, error) {
	cache := cacheHome(getenv)
	dir, err := storeDir(getenv)
	if err != nil {
		return Config{}, err
	}
	cfg := Config{Endpoint: getenv("HF_ENDPOINT"), Dir: dir}
	switch strings.ToLower(getenv("HF_HUB_OFFLINE")) {
	case "1", "true", "yes", "on":
		cfg.Offline = true
	}
	token, err := envToken(getenv, cache)
	if err != nil {
		return Config{}, err
	}
	cfg.Token = token
	return cfg, nil
}

// Lookup finds a pulled model in the store that the environment names, as Client.Lookup does. It needs no token.
func Lookup(name string) (string, error) {
	dir, err := storeDir(os.Getenv)
	if err != nil {
		return "", err
	}
	c, err := New(Config{Dir: dir})
	if err != nil {
		return "", err
	}
	return c.Lookup(name)
}

// cacheHome is where programs keep what they can fetch again, "" if the environment does not say.
func cacheHome(getenv func(string) string) string {
	if dir := getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) { // a relative one is to be ignored, says the specification
		return dir
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache")
	}
	return ""
}

func storeDir(getenv func(string) string) (string, error) {
	if dir := getenv("NOSA_HOME"); dir != "" {
		return dir, nil
	}
	if cache := cacheHome(getenv); cache != "" {
		return filepath.Join(cache, "nosa"), nil
	}
	return "", fmt.Errorf("hub: neither NOSA_HOME, XDG_CACHE_HOME nor HOME is set: set NOSA_HOME to the folder for models: %w", ErrName)
}

// envToken finds the token, "" if there is none. A file that is there but can not be read is an error: pulling without
// a token would end in a misleading "not found".
func envToken(getenv func(string) string, cache string) (string, error) {
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if t := strings.TrimSpace(getenv(name)); t != "" {
			return checkToken(t, name)
		}
	}
	path := getenv("HF_TOKEN_PATH")
	if path == "" {
		dir := getenv("HF_HOME")
		if dir == "" && cache != "" {
			dir = filepath.Join(cache, "huggingface")
		}
		if dir == "" {
			return "", nil
		}
		path = filepath.Join(dir, "token")
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("hub: read the token: %w", err)
	}
	defer release(f)
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("hub: read the token: %w", err)
	}
	if t := strings.TrimSpace(string(b)); t != "" {
		return checkToken(t, path)
	}
	return "", nil
}

// checkToken refuses what can not stand in a header. It never prints the token.
func checkToken(token, from string) (string, error) {
	if len(token) > maxToken {
		return "", fmt.Errorf("hub: the token from %s has more than %d bytes: %w", from, maxToken, ErrName)
	}
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c >= 0x7f {
			return "", fmt.Errorf("hub: the token from %s has a character that no token has at byte %d: %w", from, i, ErrName)
		}
	}
	return token, nil
}
