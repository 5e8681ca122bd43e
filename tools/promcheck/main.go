// Command promcheck holds a page of metrics against Prometheus's own parser and linter,
// and against what Kubernetes' inference gateways read of a model server.
//
//	curl -s localhost:8080/metrics | go run ./promcheck -model NAME
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func main() {
	name := flag.String("model", "", "the `name` that the gateway's metrics must have in the label model_name (required)")
	flag.Parse()
	if *name == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	page, err := io.ReadAll(io.LimitReader(os.Stdin, 64<<20))
	if err == nil {
		err = check(page, *name)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "promcheck: %v\n", err)
		os.Exit(1)
	}
}

// check says all that is wrong with a page.
func check(page []byte, name string) error {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return err
	}
	problems, err := promlint.New(bytes.NewReader(page)).Lint()
	if err != nil {
		return err
	}
	var wrong []error
	for _, p := range problems {
		if gateway[p.Metric] != nil && p.Text == colon { // vLLM's names have one
			continue
		}
		wrong = append(wrong, fmt.Errorf("%s: %s", p.Metric, p.Text))
	}
	for metric, want := range gateway {
		if err := want(families[metric], name); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", metric, err))
		}
	}
	samples := 0
	for _, f := range families {
		samples += len(f.Metric)
	}
	if len(wrong) == 0 {
		fmt.Printf("%d metrics, %d series: no problems\n", len(families), samples)
	}
	return errors.Join(wrong...)
}

// colon is what the linter says of one in a name.
const colon = "metric names should not contain ':'"

// gateway is what the model server protocol of Kubernetes' gateway API inference
// extension reads, by vLLM's names.
var gateway = map[string]func(f *dto.MetricFamily, model string) error{
	"vllm:num_requests_running": gauge(0, 1e9),
	"vllm:num_requests_waiting": gauge(0, 1e9),
	"vllm:kv_cache_usage_perc":  gauge(0, 1),
	"vllm:cache_config_info": func(f *dto.MetricFamily, model string) error {
		if err := gauge(1, 1)(f, ""); err != nil {
			return err
		}
		for _, name := range []string{"block_size", "num_gpu_blocks"} {
			var n int
			if _, err := fmt.Sscan(label(f.Metric[0], name), &n); err != nil || n < 1 {
				return fmt.Errorf("label %s is %q: want a number above 0", name, label(f.Metric[0], name))
			}
		}
		return nil
	},
}

// gauge wants one gauge of a model, between two numbers.
func gauge(low, high float64) func(f *dto.MetricFamily, model string) error {
	return func(f *dto.MetricFamily, model string) error {
		switch {
		case f == nil:
			return errors.New("is not there")
		case f.GetType() != dto.MetricType_GAUGE || len(f.Metric) != 1:
			return fmt.Errorf("is %d series of a %s: want one of a gauge", len(f.Metric), f.GetType())
		case model != "" && label(f.Metric[0], "model_name") != model:
			return fmt.Errorf("label model_name is %q: want %q", label(f.Metric[0], "model_name"), model)
		}
		if v := f.Metric[0].GetGauge().GetValue(); !(v >= low && v <= high) {
			return fmt.Errorf("is %v: want %v to %v", v, low, high)
		}
		return nil
	}
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
