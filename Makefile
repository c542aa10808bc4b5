# Landfall. `make demo` shows it, `make test` tries all of it; `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo

# The Kubernetes programs of the lab: built once, found again in a moment.
ASSETS = KUBEBUILDER_ASSETS="$$(hack/control-plane.sh)" LANDFALL_ENVOY="$$(hack/envoy.sh)" LANDFALL_GATEWAY_API="$$(hack/gateway-api.sh)" LANDFALL_HELM="$$(hack/go-program.sh helm)"

# What the binaries say in the first line of their logs.
REVISION = $$(git describe --always --dirty 2>/dev/null || echo unknown)
# Where the images are pushed to.
REGISTRY ?= docker.io/landfall

.PHONY: help
help: ## List every target
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ENVOY_GATEWAY=1: one chapter more, for which Envoy Gateway itself is built first (once, ten minutes of two cores).
.PHONY: demo
demo: ## Show the main job without a cluster: pool, Service, XDP, Envoy, a node's death (KEEP=1 leaves it up; ENVOY_GATEWAY=1)
	@hack/setup.sh all $(if $(ENVOY_GATEWAY),envoy-gateway helm)
	$(CARGO) build --workspace --bins
	$(ASSETS) target/debug/lab run $(if $(ENVOY_GATEWAY),--together) e2e/scenarios/demo.yaml $(if $(ENVOY_GATEWAY),e2e/scenarios/demo-envoy-gateway.yaml)

.PHONY: test
test: setup-tests lint check-generated ## Set up what is needed and pass every test this machine can run
	$(CARGO) build --workspace --bins
	$(ASSETS) $(CARGO) test --workspace --no-fail-fast

.PHONY: e2e-kind
e2e-kind: ## The main scenarios in a kind cluster (root, Docker with the internet, kind; SCENARIOS=files for others)
	$(CARGO) build --workspace --bins
	hack/kind.sh $(SCENARIOS)

.PHONY: upgrade-test
upgrade-test: setup ## From another revision to this one and back, in the lab under load (BASE=revision; root)
	$(CARGO) build --workspace --bins
	$(ASSETS) CARGO="$(CARGO)" hack/upgrade.sh $(BASE)

.PHONY: conformance
conformance: ## The Gateway API's own suite, its profiles of layer 4, in the lab; its report is kept in docs/conformance (root)
	@hack/setup.sh all echo-basic gateway-conformance
	$(CARGO) build --workspace --bins
	$(ASSETS) target/debug/lab run e2e/scenarios/conformance.yaml
	install -m 0644 target/conformance/report.yaml docs/conformance/standard-v0.1.0-default-report.yaml

.PHONY: soak
soak: setup ## A thousand idle connections beside five thousand new ones a second, for eleven minutes (root)
	$(CARGO) build --release --workspace --bins
	$(ASSETS) target/release/lab run e2e/scenarios/connections-idle.yaml

.PHONY: e2e-envoy-gateway
e2e-envoy-gateway: ## Envoy Gateway beside Landfall in the lab: routes of every kind, and its changes under load (root)
	@hack/setup.sh all echo-basic envoy-gateway
	$(CARGO) build --workspace --bins
	$(ASSETS) target/debug/lab run e2e/scenarios/envoy-gateway.yaml

.PHONY: setup
setup: ## Install what Landfall is built and tried with, by name from the package registries
	@hack/setup.sh

.PHONY: setup-tests
setup-tests:
	@hack/setup.sh all tests

.PHONY: build
build: ## Build the binaries for use
	@hack/setup.sh build
	LANDFALL_REVISION=$(REVISION) $(CARGO) build --release -p landfall-controller -p landfall-announcer -p landfall-cli

.PHONY: lint
lint: ## Format check, clippy and shellcheck, warnings refused
	@hack/setup.sh build
	shellcheck --external-sources --severity warning hack/*.sh e2e/node/*.sh .ci/run
	$(CARGO) fmt --all -- --check
	for project in bpf-lb/ebpf bpf-lb/fuzz announcer/fuzz; do (cd $$project && $(CARGO) fmt -- --check); done
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: release
release: ## Everything a release consists of, in target/release-VERSION; publishes nothing (REGISTRY=, DOWNLOADS=, TARGETS=)
	@hack/setup.sh build release
	REGISTRY=$(REGISTRY) hack/release.sh

.PHONY: generate
generate: ## Write the generated files again (CRDs, install.yaml, reference tables, README transcript excluded)
	@hack/generate.sh

.PHONY: check-generated
check-generated: ## Refuse generated files that are stale
	@hack/generate.sh --check

.PHONY: transcript
transcript: setup ## Run the demo and write its transcript (docs/demo.txt, and the README's chapter)
	$(CARGO) build --workspace --bins
	$(ASSETS) hack/transcript.sh

.PHONY: book
book: ## The documentation as a book, in target/book (mdBook is built once)
	"$$(hack/mdbook.sh)" build

.PHONY: pictures
pictures: setup ## Run three minutes of the lab and draw the dashboard of them (docs/pictures; root)
	$(CARGO) build --workspace --bins
	$(ASSETS) target/debug/lab run e2e/scenarios/pictures.yaml
	python3 hack/pictures.py target/pictures/ranges.json docs/pictures

.PHONY: nightly
nightly: setup ## The long forms: 10,000 random histories, 10,000 of every simulated fault, ten minutes of fuzzing a parser
	LANDFALL_HISTORIES=10000 $(CARGO) test --release -p landfall-ipam --test histories
	LANDFALL_HISTORIES=20 $(CARGO) test --release -p landfall-bpf-lb --test histories
	LANDFALL_SIMULATIONS=10000 LANDFALL_ADVERSARY=2 $(CARGO) test --release -p landfall-election -- --nocapture
	hack/fuzz.sh 600

.PHONY: fuzz-smoke
fuzz-smoke: ## Fuzz every parser of what comes from outside, a minute each (SECONDS_EACH=n for longer)
	@hack/setup.sh build
	hack/fuzz.sh $(or $(SECONDS_EACH),60)

# BASE=REVISION: a bench runs in turn with the same bench of that revision, and says the ratios.
against = $(if $(BASE),CARGO="$(CARGO)" hack/against.sh $(1) $(BASE),$(CARGO) bench -p $(2) --bench $(1))

.PHONY: bench-xdp
bench-xdp: ## Nanoseconds per packet of the XDP programs (target/figures/bench-xdp.json; BASE=revision: ratios)
	@hack/setup.sh
	$(call against,xdp,landfall-bpf-lb)

.PHONY: bench-wire
bench-wire: ## What an answer costs, beside the kernel's own (target/figures/bench-wire.json)
	@hack/setup.sh
	$(call against,wire,landfall-announcer)

.PHONY: bench-brain
bench-brain: ## What a decision costs with up to 10,000 addresses (target/figures/bench-brain.json; needs valgrind for instructions)
	@hack/setup.sh build
	$(call against,brain,landfall-announcer)

.PHONY: bench-capacity
bench-capacity: ## Memory and time of 10,000 Services by XDP (target/figures/bench-capacity.json; needs root)
	@hack/setup.sh
	$(CARGO) bench -p landfall-announcer --bench capacity

.PHONY: bench-ipam
bench-ipam: ## What an address costs, in process and on a real API server (target/figures/bench-ipam*.json)
	@hack/setup.sh
	$(call against,ipam,landfall-ipam)
	$(if $(BASE),,$(ASSETS) $(CARGO) bench -p landfall-controller --bench ipam_api)

.PHONY: bench-gateways
bench-gateways: ## 500 Gateways and 2,000 routes on a real API server (target/figures/bench-gateways.json)
	@hack/setup.sh
	$(ASSETS) $(CARGO) bench -p landfall-controller --bench ipam_api -- gateways

.PHONY: bench-traffic
bench-traffic: ## What 3 to 300 nodes say to each other and to the API server at rest, simulated (target/figures/bench-traffic.json)
	LANDFALL_FIGURES=$(abspath target/figures/bench-traffic.json) \
	  $(CARGO) test --release -p landfall-election --lib what_a_cluster_at_rest_says_is_written_down -- --nocapture
	hack/costs.sh

# What bench-failover measures: addresses on 3 nodes, how often each case, who forwards, and which cases (all of them).
# bench-failover-sizes: so many addresses at a time, all on the node that something befalls.
ADDRESSES ?= 10
MODE ?= Kernel
CASES ?= rest,busy,kill,link-down,deaf,mute,link-dead,partition,freeze,terminate,drain,rollout,api-away,api-away-node-dead,node-dead,api-slow-node-dead,backend-dead

.PHONY: bench-failover
bench-failover: ## How long a client goes without an address whose owner fails (target/figures/bench-failover.json; REPEAT=n)
	@hack/setup.sh
	$(CARGO) build --release --workspace --bins
	$(ASSETS) target/release/lab-failover --addresses $(ADDRESSES) --repeat $(or $(REPEAT),10) --mode $(MODE) --cases $(CASES)

SIZES ?= 1 100 1000 10000

.PHONY: bench-failover-sizes
bench-failover-sizes: ## The same with 1 to 10,000 addresses on the node that dies (target/figures/bench-failover-N.json)
	@hack/setup.sh
	$(CARGO) build --release --workspace --bins
	for addresses in $(SIZES); do \
	  $(ASSETS) target/release/lab-failover --together --addresses $$addresses --repeat $(or $(REPEAT),10) --mode $(MODE) \
	    --cases kill,link-down,node-dead --file target/figures/bench-failover-$$addresses.json; \
	done

.PHONY: benchmarks
benchmarks: ## Write docs/benchmarks.md from the figures of the bench targets
	@hack/benchmarks.sh

.PHONY: image
image: ## Build the container images with docker, podman or buildah (REGISTRY=… to name them for yours)
	REGISTRY=$(REGISTRY) hack/images.sh

.PHONY: clean
clean: ## Remove what was built here (not the cache of the control plane)
	$(CARGO) clean
