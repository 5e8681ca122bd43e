package main

import (
	"strings"
	"testing"
)

const page = `# HELP nosa_steps_total Forward passes.
# TYPE nosa_steps_total counter
nosa_steps_total 3
# HELP vllm:num_requests_running As nosa_requests_running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="a \"b\""} 1
# HELP vllm:num_requests_waiting Those that wait.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="a \"b\""} 0
# HELP vllm:kv_cache_usage_perc Part of the blocks.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{model_name="a \"b\""} 0.5
# HELP vllm:cache_config_info Always 1.
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="64",num_gpu_blocks="32"} 1
`

// TestCheck: a good page passes, and each mistake is named.
func TestCheck(t *testing.T) {
	if err := check([]byte(page), `a "b"`); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ from, to, says string }{
		"no help":       {"# HELP nosa_steps_total Forward passes.\n", "", "nosa_steps_total: no help text"},
		"no total":      {"nosa_steps_total", "nosa_steps", `should have "_total"`},
		"no gauge":      {"perc gauge", "perc counter", "want one of a gauge"},
		"another model": {`a \"b\"`, "c", `model_name is "c"`},
		"no number":     {`"64"`, `"x"`, "block_size"},
		"no blocks":     {`"32"`, `"0"`, "num_gpu_blocks"},
		"too full":      {" 0.5", " 50", "want 0 to 1"},
		"not there":     {"vllm:num_requests_waiting", "vllm:num_requests_other", "vllm:num_requests_waiting: is not there"},
		"no metrics":    {"steps_total 3", "steps_total three", "parsing error"},
	} {
		if err := check([]byte(strings.ReplaceAll(page, tc.from, tc.to)), `a "b"`); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want %q", name, err, tc.says)
		}
	}
}
