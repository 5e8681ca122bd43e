package weights

import (
	"strings"
	"testing"
)

// TestDigest: a copy elsewhere has the same digest; one bit of a weight, another name,
// shape or setting makes another one.
func TestDigest(t *testing.T) {
	digest := func(config, header string, data []byte) [32]byte {
		return mustOpen(t, folder(t, map[string]any{"config.json": config, "model.safetensors": safetensorsFile(header, data)})).Digest()
	}
	data := make([]byte, 24)
	want := digest("{}", stHeader, data)
	if digest("{}", stHeader, data) != want {
		t.Error("a copy differs")
	}
	other := append([]byte(nil), data...)
	other[9] ^= 1
	for name, got := range map[string][32]byte{
		"a bit":     digest("{}", stHeader, other),
		"a name":    digest("{}", strings.Replace(stHeader, `"a"`, `"c"`, 1), data),
		"a shape":   digest("{}", strings.Replace(stHeader, "[2,2]", "[4,1]", 1), data),
		"a type":    digest("{}", strings.Replace(stHeader, `"F16"`, `"BF16"`, 1), data),
		"a setting": digest(`{"rope_theta":1}`, stHeader, data),
	} {
		if got == want {
			t.Errorf("%s makes no difference", name)
		}
	}
}
