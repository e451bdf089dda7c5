# TRACER: `make help` lists what can be made.
SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c
GO          ?= go
export CGO_ENABLED ?= 0
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS     := -s -w -X github.com/tracer-framework/tracer/pkg/service.Version=$(VERSION)
MODULES     := schemas pkg services/ingest services/fingerprint services/archive services/tracemap services/report services/tracer
LIBCHDB     := node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
DEMO        ?= demo-out
FUZZTIME    ?= 60s
BENCHTIME   ?= 1s
COUNT       ?= 5

GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
DEADCODE    := golang.org/x/tools/cmd/deadcode@v0.52.0

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "  %-12s %s\n", $$1, $$2}'

# The ClickHouse library that TRACER embeds: a prebuilt file inside an npm package, pinned
# and checked by package-lock.json; no script of the package is run.
$(LIBCHDB): package.json package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: build
build: $(LIBCHDB) ## build bin/tracer
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/tracer ./services/tracer/cmd/tracer

.PHONY: demo
demo: build ## generate an intrusion, investigate it, compare with the truth
	@rm -rf $(DEMO)
	bin/tracer lab generate intrusion --out $(DEMO)/lab
	bin/tracer investigate --data $(DEMO)/data --out $(DEMO)/report $(DEMO)/lab
	bin/tracer lab score $(DEMO)/lab/truth.json $(DEMO)/report
	bin/tracer verify $(DEMO)/report
	@echo "The report: $(DEMO)/report/report.html"

.PHONY: test
test: $(LIBCHDB) ## run all tests, with real NATS, ClickHouse, processes and captures
	$(GO) vet work
	$(GO) test -timeout 18m work

.PHONY: e2e
e2e: $(LIBCHDB) ## the main job all-in-one and as separate processes, with stages killed
	$(GO) test -count=1 -timeout 30m -v -run 'TestE2E|TestKill|TestDeterminism|TestOutage|TestCluster' ./services/tracer/... ./pkg/bus/...

.PHONY: conformance
conformance: $(LIBCHDB) ## score against the answers of independent implementations
	TRACER_CONFORMANCE=1 $(GO) test -count=1 -timeout 30m -v -run 'Conformance' work 2>&1 | grep -Ev '^(=== |\?|ok |PASS)' 

.PHONY: bench
bench: build ## packets/s, flows/s, CPU and memory of each stage and end to end
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -count $(COUNT) work | grep -Ev 'no test files|^ok|^PASS'
	bin/tracer bench all

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	@for d in $$(grep -rlE 'func Fuzz' --include=*_test.go pkg schemas services | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -hoE 'func Fuzz[A-Za-z0-9_]*' $$d/*_test.go | cut -d' ' -f2); do \
	    echo "== $$d $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./$$d || exit 1; \
	  done; done

bin/golangci-lint bin/gofumpt bin/deadcode:
	GOBIN=$(CURDIR)/bin $(GO) install $(if $(findstring golangci,$@),$(GOLANGCI),$(if $(findstring gofumpt,$@),$(GOFUMPT),$(DEADCODE)))

.PHONY: check
check: $(LIBCHDB) bin/golangci-lint bin/gofumpt bin/deadcode ## format, vet, lint, dead code, modules alone, import rules
	@test -z "$$(bin/gofumpt -l $(MODULES) | tee /dev/stderr)" || { echo "gofumpt: the files above are not formatted" >&2; exit 1; }
	$(GO) vet work
	bin/golangci-lint run $$($(GO) list -m -f '{{.Dir}}/...')
	@test -z "$$(bin/deadcode -test work | tee /dev/stderr)" || { echo "deadcode: nothing reaches the functions above" >&2; exit 1; }
	@for m in $(MODULES); do (cd $$m && GOWORK=off $(GO) build ./... && GOWORK=off $(GO) vet ./...) || exit 1; done
	$(GO) test -short -run 'TestArch' ./services/tracer

.PHONY: tidy
tidy: ## the same versions in all modules, nothing unused
	$(GO) work sync
	@for m in $(MODULES); do (cd $$m && $(GO) mod tidy) || exit 1; done
