package trace

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// settings are what the environment says.
type settings struct {
	url      string
	headers  http.Header
	resource []slog.Attr
	timeout  time.Duration // of one request
	every    time.Duration // that a span waits at most
	sampler  sampler
}

// read takes OpenTelemetry's variables. off: nothing is to be sent.
func read(getenv func(string) string) (s settings, off bool, err error) {
	of := func(name string) (value, from string) { // the one for traces goes before the one for all
		from = "OTEL_EXPORTER_OTLP_TRACES_" + name
		if value = getenv(from); value == "" {
			from = "OTEL_EXPORTER_OTLP_" + name
			value = getenv(from)
		}
		return value, from
	}
	endpoint, from := of("ENDPOINT")
	if endpoint == "" || getenv("OTEL_TRACES_EXPORTER") == "none" || strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return s, true, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return s, false, fmt.Errorf("%s=%.200s: want an address such as http://127.0.0.1:4318", from, endpoint)
	}
	if from == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		u = u.JoinPath("v1", "traces")
	}
	s.url = u.String()
	if protocol, from := of("PROTOCOL"); protocol != "" && protocol != "http/json" {
		return s, false, fmt.Errorf("%s=%.50s: this program sends http/json alone, which collectors take at the same port as http/protobuf", from, protocol)
	}
	limit, from := of("TIMEOUT")
	if s.timeout, err = milliseconds(limit, from, 10*time.Second); err != nil {
		return s, false, err
	}
	if s.every, err = milliseconds(getenv("OTEL_BSP_SCHEDULE_DELAY"), "OTEL_BSP_SCHEDULE_DELAY", 5*time.Second); err != nil {
		return s, false, err
	}
	s.headers = http.Header{}
	list, from := of("HEADERS")
	if err := pairs(list, from, s.headers.Set); err != nil {
		return s, false, err
	}
	service := "nosa"
	err = pairs(getenv("OTEL_RESOURCE_ATTRIBUTES"), "OTEL_RESOURCE_ATTRIBUTES", func(key, value string) {
		if key == "service.name" {
			service = value
			return
		}
		s.resource = append(s.resource, slog.String(key, value))
	})
	if err != nil {
		return s, false, err
	}
	if name := getenv("OTEL_SERVICE_NAME"); name != "" {
		service = name
	}
	s.resource = append(s.resource, slog.String("service.name", service))
	s.sampler, err = readSampler(getenv("OTEL_TRACES_SAMPLER"), getenv("OTEL_TRACES_SAMPLER_ARG"))
	return s, false, err
}

// milliseconds reads a number of them, or takes the default.
func milliseconds(value, from string, otherwise time.Duration) (time.Duration, error) {
	if value == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 3_600_000 {
		return 0, fmt.Errorf("%s=%.50s: want milliseconds from 1 to 3600000", from, value)
	}
	return time.Duration(n) * time.Millisecond, nil
}

// pairs reads key=value,key=value, in which values are escaped as in addresses.
func pairs(list, from string, set func(key, value string)) error {
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || key == "" || err != nil {
			return fmt.Errorf("%s: a part of it is not KEY=VALUE", from) // which may be a secret
		}
		set(key, value)
	}
	return nil
}

func readSampler(name, arg string) (s sampler, err error) {
	kind, follows := strings.CutPrefix(name, "parentbased_")
	s.follows = follows || name == ""
	switch kind {
	case "", "always_on":
		s.part = 1
	case "always_off":
	case "traceidratio":
		s.part = 1
		if arg != "" {
			if s.part, err = strconv.ParseFloat(arg, 64); err != nil || math.IsNaN(s.part) || s.part < 0 || s.part > 1 {
				return s, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG=%.50s: want a number from 0 to 1", arg)
			}
		}
	default:
		return s, fmt.Errorf("OTEL_TRACES_SAMPLER=%.50s: want always_on, always_off or traceidratio, alone or after parentbased_", name)
	}
	return s, nil
}
