package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// decoded is a line of nosa bench decode.
func decoded(system, kv string, batch, context int, memory int64, ms float64) string {
	return fmt.Sprintf(`{"kind":"decode","shape":"8b","weights":"bf16","system":%q,"kv_dtype":%q,"batch":%d,"context":%d,"memory":%d,"ms":%g,"ms_min":%g,"ms_max":%g,"tokens_per_second":%g,`+
		`"hit_rate":0.98,"slots_per_head":128,"bytes":{"weights":1e9,"blocks":2e9,"means":5e8,"bus":1e8},"roofline_ms":%g,"fraction":0.8}`,
		system, kv, batch, context, memory, ms, 0.9*ms, 1.1*ms, 1e3*float64(batch)/ms, 0.8*ms)
}

// decodeLines are two systems and PyTorch, at two batches and contexts, and with less memory.
func decodeLines() string {
	torch := func(batch int, ms float64) string {
		return fmt.Sprintf(`{"kind":"baseline","system":"pytorch","shape":"8b","batch":%d,"context":32768,"attention":"full","weights":"bf16","kv_dtype":"bf16","steps":24,"ms":%g,"ms_min":%g,"ms_max":%g,`+
			`"tokens_per_second":%g,"bytes":{"weights":1.4e10,"blocks":5.2e10,"means":0,"bus":0},"roofline_ms":9,"fraction":0.7,"sdpa":"flash, enable_gqa","sdpa_ms_per_layer":{"a":0.2,"b":null},"fused":true}`, batch, ms, ms, ms, 1e3*float64(batch)/ms)
	}
	return strings.Join([]string{
		`{"kind":"decode_machine","device":"cuda:0 (Some GPU)","memory":1,"copy":4e12,"bus":5e10}`,
		`{"kind":"baseline_machine","device":"Some GPU","torch":"2.11","copy_bandwidth":4.2e12}`,
		decoded("full", "bf16", 4, 32768, 0, 10), decoded("full", "bf16", 16, 32768, 0, 16), decoded("nosa", "bf16", 16, 32768, 0, 99), decoded("nosa", "bf16", 16, 32768, 0, 10), decoded("nosa", "bf16", 4, 32768, 0, 8),
		decoded("nosa", "q8", 4, 32768, 0, 8), decoded("nosa", "bf16", 4, 16384, 0, 7), decoded("nosa", "bf16", 4, 32768, 24<<30, 20), decoded("nosa", "bf16", 8, 32768, 24<<30, 25),
		`{"kind":"decode","shape":"8b","weights":"bf16","system":"full","kv_dtype":"bf16","batch":64,"context":32768,"error":"does not fit: a|b"}`,
		torch(4, 12), torch(16, 20),
		`{"kind":"baseline_prefill","system":"pytorch","shape":"8b","tokens":32768,"sdpa":"flash","ms":1500,"tokens_per_second":21845,"tflops_per_second":500}`,
		`{"kind":"baseline_prefill","system":"pytorch","shape":"8b","tokens":131072,"sdpa":"cudnn","error":"out of memory"}`,
		`{"kind":"product","shape":"8b","product":"qkv","n":4608,"k":4096,"rows":8,"us":12.5,"gb_per_second":3020,"fraction":0.7}`,
		`{"kind":"products","shape":"8b","rows":8,"ms":4.5,"bytes":1.4e10,"gb_per_second":3200,"fraction":0.75}`,
		`{"kind":"decode_best"}`, `{"kind":"baseline_end","seconds":12}`,
	}, "\n")
}

func TestDecodeCharts(t *testing.T) {
	var m measurements
	if err := m.read("lines", strings.NewReader(decodeLines())); err != nil {
		t.Fatal(err)
	}
	got := drawn(m.decodeCharts(false))
	want := []string{
		"throughput-8b-32k.png full, KV bf16 4:400 16:1000",
		"throughput-8b-32k.png nosa, KV bf16 4:500 16:1600",
		"throughput-8b-32k.png PyTorch, full 4:333.3333333333333 16:800",
		"throughput-8b-32k-24gib.png nosa, KV bf16 4:200 8:320",
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDecodeTable(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if err := run(nil, dir, "", true, true, strings.NewReader(decodeLines()), &out); err != nil {
		t.Fatal(err)
	}
	want := `- cuda:0 (Some GPU): a copy moves 4000 GB/s, the bus 50.0
- PyTorch 2.11 on Some GPU: a copy moves 4200 GB/s

## 8b, 16K tokens

| system | batch | ms a step | min to max | tokens/s | hits | slots/head | GB read | GB bus | reached |
|---|---|---|---|---|---|---|---|---|---|
| nosa, KV bf16 | 4 | 7.00 | 6.30 to 7.70 | 571 | 98.0 % | 128 | 3.50 | 0.100 | 0.80 |

## 8b, 32K tokens

| system | batch | ms a step | min to max | tokens/s | hits | slots/head | GB read | GB bus | reached |
|---|---|---|---|---|---|---|---|---|---|
| pytorch, KV bf16 | 4 | 12.00 | 12.00 to 12.00 | 333 | | | | | 0.70 |
| pytorch, KV bf16 | 16 | 20.00 | 20.00 to 20.00 | 800 | | | | | 0.70 |
| full, KV bf16 | 4 | 10.00 | 9.00 to 11.00 | 400 | 98.0 % | 128 | 3.50 | 0.100 | 0.80 |
| full, KV bf16 | 16 | 16.00 | 14.40 to 17.60 | 1000 | 98.0 % | 128 | 3.50 | 0.100 | 0.80 |
| full, KV bf16 | 64 | does not fit: a/b | | | | | | | |
| nosa, KV bf16 | 4 | 8.00 | 7.20 to 8.80 | 500 | 98.0 % | 128 | 3.50 | 0.100 | 0.80 |
| nosa, KV bf16 | 16 | 10.00 | 9.00 to 11.00 | 1600 | 98.0 % | 128 | 3.50 | 0.100 | 0.80 |
| nosa, KV q8 | 4 | 8.00 | 7.20 to 8.80 | 500 | 98.0 % | 128 | 3.50 | 0.100 | 0.80 |

Each at its best batch, times as fast as the others at theirs:

| system | batch | tokens/s | hits | over |
|---|---|---|---|---|
| pytorch, KV bf16 | 16 | 800 | 100.0 % | full bf16 0.80x, nosa bf16 0.50x, nosa q8 1.60x |
| full, KV bf16 | 16 | 1000 | 98.0 % | pytorch bf16 1.25x, nosa bf16 0.62x, nosa q8 2.00x |
| nosa, KV bf16 | 16 | 1600 | 98.0 % | pytorch bf16 2.00x, full bf16 1.60x |
| nosa, KV q8 | 4 | 500 | 98.0 % | pytorch bf16 0.62x, full bf16 0.50x |

## 8b, 32K tokens, 24 GiB on the device

| system | batch | ms a step | min to max | tokens/s | hits | slots/head | GB read | GB bus | reached |
|---|---|---|---|---|---|---|---|---|---|
| nosa, KV bf16 | 4 | 20.00 | 18.00 to 22.00 | 200 | 98.0 % | 128 | 3.50 | 0.100 | 0.80 |
| nosa, KV bf16 | 8 | 25.00 | 22.50 to 27.50 | 320 | 98.0 % | 128 | 3.50 | 0.100 | 0.80 |

## Prefill of PyTorch

| shape | tokens | SDPA | ms | tokens/s | TFLOP/s |
|---|---|---|---|---|---|
| 8b | 32K | flash | 1500 | 21845 | 500 |
| 8b | 128K | cudnn | out of memory | | |

## Products of cuBLAS

| shape | product | rows | µs | GB/s of weights | of a copy |
|---|---|---|---|---|---|
| 8b | qkv | 8 | 12.5 | 3020 | 0.70 |
| 8b | all of a step | 8 | 4500.0 | 3200 | 0.75 |
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	for _, name := range []string{"throughput-8b-32k.png", "throughput-8b-32k-24gib.png"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		_, err = png.DecodeConfig(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no batch":   decoded("full", "bf16", 0, 32768, 0, 5),
		"no time":    decoded("full", "bf16", 1, 32768, 0, 0),
		"no context": decoded("full", "bf16", 1, 0, 0, 5),
		"odd median": `{"kind":"decode","batch":1,"context":1,"ms":5,"ms_min":6,"ms_max":7,"tokens_per_second":1}`,
		"wrong type": `{"kind":"products","rows":"many"}`,
		"a machine":  `{"kind":"baseline_machine","torch":2}`,
	} {
		var m measurements
		if err := m.read("lines", strings.NewReader("{\"kind\":\"machine\"}\n"+text)); !errors.Is(err, errLine) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
