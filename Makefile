# Everything is built from here; tools are pinned in go.mod, the engine in store/chdb/package-lock.json.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO      ?= go
ARGS    ?=
ENGINE  := store/chdb/node_modules/.package-lock.json
# Where an engine library is given, none is fetched.
ENGINE_DEP := $(if $(STAKEOUT_LIBCHDB),,$(ENGINE))

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/stakeout
	$(GO) build -o bin/stakeout ./cmd/stakeout

engine: $(ENGINE_DEP) ## fetch the embedded ClickHouse engine (178 MB, once)

$(ENGINE): store/chdb/package-lock.json
	npm ci --prefix store/chdb --no-audit --no-fund
	@touch $@

demo: build engine ## see it at work: make demo ARGS='--format json'
	@bin/stakeout demo $(ARGS)

up: build engine ## run the whole pipeline here: make up ARGS='--set up.dir=/tmp/stakeout'
	@bin/stakeout up $(ARGS)

test: engine ## run every test, also over real Apache Kafka (needs a JDK and Maven)
	$(GO) tool gotestsum --format pkgname --format-hide-empty-pkg -- -p 1 -timeout 40m ./...

test-short: ## run what needs Go alone, in a minute
	$(GO) test -short ./detect/... ./ingest ./ingest/event ./rules ./cmd/internal/simulate

race: engine ## run every test under the race detector
	$(GO) test -race ./...

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

vuln: ## look the dependencies up in the vulnerability database, where it can be reached
	deploy/vuln.sh

fuzz: ## fuzz every target for FUZZTIME (default 30s)
	deploy/fuzz.sh

bench: ## run the benchmarks: ten minutes, and a million agents want 6 GB
	$(GO) test -run '^$$' -bench . -benchmem ./detect ./ingest ./ingest/event ./ingest/stream ./store ./cmd/internal/simulate
	$(GO) test -run '^$$' -bench 'Parts|Role|Million' -benchtime 1x ./cmd/internal/app

ROUNDS ?= 20
SEED   ?= 1
KAFKA  ?= embedded
bench-recovery: ## how long a takeover, a rebalance and catching up take
	$(GO) test ./cmd/internal/app -run '^$$' -bench 'Restore|CatchUp|Rebalance' -benchtime 3x

chaos: build engine ## kill, freeze, cut off and fill up the pipeline under load: make chaos ROUNDS=20 SEED=1 KAFKA=embedded|real
	@$(GO) run ./cmd/internal/chaos/play -binary bin/stakeout -rounds $(ROUNDS) -seed $(SEED) -kafka $(KAFKA) $(ARGS)

flood: engine ## ten thousand findings at once: all looked at, few incidents, pages within their budget
	STAKEOUT_FLOOD=10000 $(GO) test -p 1 ./triage ./cmd/stakeout -run TestFlood -v | grep -E 'findings in|^(ok|---|FAIL)'

FLEETS ?= 8
FIRST  ?= 1001
calibration: ## false findings of fleets without attacks, over those foretold and budgeted: make calibration FLEETS=8 FIRST=1001
	$(GO) test ./cmd/internal/backtest -run TestCleanReplay -v -timeout 30m -fleets $(FLEETS) -seed $(FIRST)

TRACES ?=
generalise: ## backtests of public traces in TRACES with a job, a role or a field unknown, or little to learn from
	STAKEOUT_TRACES=$(TRACES) $(GO) test ./cmd/internal/backtest -run TestGeneralises -v -timeout 30m

TIMES ?= 10
backlog: engine ## a backlog and one of ten times its size, both TIMES what the tests have
	$(GO) test ./cmd/internal/chaos -run 'TestFlood$$' -v -timeout 30m -flood $(TIMES)

golden: ## rewrite the findings of the stories
	$(GO) test ./detect -run TestStories -update
	$(GO) test ./cmd/internal/chaos -run TestDeterminism -update

manifests: ## copy the shipped rules to where kustomize finds them
	cp rules/detection.yaml rules/response.yaml deploy/kubernetes/rules/

check: ## exactly what CI runs
	.ci/run

clean: ## remove what was built and fetched
	rm -rf bin store/chdb/node_modules

.PHONY: help build engine demo up test test-short race lint vuln fuzz bench bench-recovery chaos backlog calibration generalise flood golden manifests check clean
