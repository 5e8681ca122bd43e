# Six words; each line can also be typed by hand.
.PHONY: build test race lint generate bench

build:
	CGO_ENABLED=0 go build -o nosa ./cmd/nosa

test:
	go test ./...

race:
	.ci/run race

lint:
	.ci/run format vet lint

generate:
	go generate ./... && gofmt -l .

bench:
	go test -run '^$$' -bench . -benchmem ./...
