# make serve   set up what serving needs and serve on http://127.0.0.1:8000
# make up      build and start the whole stack with Docker: service, proxy, records, monitoring
# make upgrade replace the running replicas by new ones without turning a request away
# make down    end the stack
# make test    set up everything and run linters, type checker and tests
# make sbom    write the bill of materials of what serving needs to build/sbom.json (CycloneDX)
# make audit-packages  look every pinned package up among the known vulnerabilities; needs the internet
# make reproduce    rerun the paper's tables (hours without a GPU); REPRODUCE="--table 1 --seeds 1" for a part
# make gpu     on a machine with an NVIDIA GPU: train at 448, export, hold CUDA against the CPU, measure; the same
#              command goes on where it was
# make torture attacks, faults, overload and bad input against services on this machine; a quarter of an hour, or
#              TORTURE=--short for two minutes
# make bench   measure the service beside the limit of this machine and other servers; BENCH="--help" for its options

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
comma := ,
INPUTS := pyproject.toml constraints.txt
# The type checker of the page's JavaScript, for the tests alone.
PAGE_TESTS := tests/page
# CUDA libraries are gigabytes: only where there is a driver that could use them.
HAS_DRIVER := $(shell nvidia-smi -L 2>/dev/null)
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Other servers need much that we do not: an environment of their own.
BENCH_VENV := .venv-bench

.PHONY: help serve up down upgrade test torture sbom audit-packages reproduce gpu bench clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' $(firstword $(MAKEFILE_LIST))

serve: $(VENV)/.serve-ready
	@exec $(BIN)/cin serve

COMPOSE := $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
GRAFANA_PASSWORD := docker/secrets/grafana-password
up: .env $(GRAFANA_PASSWORD)
	VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
	REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(COMPOSE) up --detach --build

# Also what was started before .env changed.
down:
	COMPOSE_PROFILES=dashboards,gpu $(COMPOSE) down

upgrade:
	@docker/upgrade.sh $$(grep -qs '^COMPOSE_PROFILES=.*gpu' .env && echo service-gpu || echo service)

# On a GPU, its own service takes the place of the CPU's. That is written down, so that every later command means the same.
.env:
	@sed $(if $(HAS_DRIVER),-e 's/^COMPOSE_PROFILES=.*/COMPOSE_PROFILES=dashboards$(comma)gpu/' \
		-e 's/^# SERVICE_REPLICAS=.*/SERVICE_REPLICAS=0/') -e '' .env.example > $@

# Only who may enter the folder can read it on this machine; inside, Grafana runs as another user.
$(GRAFANA_PASSWORD):
	@mkdir -p -m 700 $(@D)
	@od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > $@
	@chmod 644 $@
	@echo "Grafana's password for the user admin is in $@"

# What trains runs side by side, one thread of OpenMP and one core each; what is timed or overloaded has the machine to
# itself. Both parts run whatever the other finds. PYTEST_ARGS takes options such as -k and -x, no paths; it may choose
# no test of one part (exit status 5), but not of both.
REPORTS ?=
PYTEST = $(BIN)/python -m pytest $(if $(REPORTS),--junit-xml=$(REPORTS)/$1.xml) $(PYTEST_ARGS)
test: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	@training=0; rest=0; \
	OMP_NUM_THREADS=1 $(call PYTEST,training) --numprocesses=logical --maxprocesses=8 --dist=loadfile tests/model_training \
		|| training=$$?; \
	$(call PYTEST,rest) --ignore=tests/model_training || rest=$$?; \
	case $$training,$$rest in 0,0|0,5|5,0) ;; *) echo "tests/model_training ended with $$training, the rest with $$rest"; exit 1;; esac

sbom: $(VENV)/.test-ready
	$(BIN)/python .ci/sbom.py build/sbom.json

audit-packages: $(VENV)/.test-ready
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

TORTURE ?=
torture: $(VENV)/.torture-ready
	@exec $(BIN)/python -m tests.torture $(TORTURE)

# The tables of the short configuration are in results/ itself.
REPRODUCE ?=
REPRODUCE_AS = --config model_training/configs/isic2017.toml --results results/protocol
reproduce: $(VENV)/.test-ready
	@exec $(BIN)/cin-train reproduce $(REPRODUCE_AS) $(REPRODUCE)

GPU_RUN ?= runs/gpu
GPU_CONFIG ?= model_training/configs/isic2017.toml
GPU_BENCH ?= --only ours
TRAIN_ON_GPU = $(BIN)/cin-train $1 --config $(GPU_CONFIG) --run $(GPU_RUN) $(GPU_TRAIN)
gpu: $(VENV)/.test-ready
	$(call TRAIN_ON_GPU,area)
	$(call TRAIN_ON_GPU,recognition)
	$(call TRAIN_ON_GPU,evaluate)
	$(call TRAIN_ON_GPU,export) --out $(GPU_RUN)/bundle
	$(BIN)/cin bundle verify $(GPU_RUN)/bundle --provider cuda
	CIN_GPU_BUNDLE=$(abspath $(GPU_RUN))/bundle $(BIN)/python -m pytest -m gpu
	CIN_BUNDLE=$(abspath $(GPU_RUN))/bundle $(BIN)/python -m tests.benchmarks --provider cuda $(GPU_BENCH)

BENCH ?=
bench: $(BENCH_VENV)/.bench-ready
	@exec $(BENCH_VENV)/bin/python -m tests.benchmarks $(BENCH)

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(PAGE_TESTS)/node_modules build *.egg-info

# A stamp is written last, so an interrupted installation is done again.
$(VENV)/.serve-ready: $(INPUTS) | $(VENV)/.created
	@echo "Installing what serving needs ..."
	@$(BIN)/python $(INSTALL) --editable '.$(if $(HAS_DRIVER),[gpu],)'
	@touch $@

$(VENV)/.test-ready: $(INPUTS) $(PAGE_TESTS)/package-lock.json | $(VENV)/.created
	@echo "Installing what training and testing need ..."
	@$(BIN)/python $(INSTALL) --editable '.[train,dev$(if $(HAS_DRIVER),$(comma)gpu,)]'
	@if command -v npm >/dev/null; then npm ci --silent --prefix $(PAGE_TESTS); fi
	@touch $@ $(VENV)/.serve-ready

$(VENV)/.torture-ready: $(INPUTS) | $(VENV)/.test-ready
	@echo "Installing a fuzzer ..."
	@$(BIN)/python $(INSTALL) --editable '.[train,dev,torture$(if $(HAS_DRIVER),$(comma)gpu,)]'
	@touch $@

$(BENCH_VENV)/.bench-ready: $(INPUTS) | $(BENCH_VENV)/.created
	@echo "Installing the other servers ..."
	@$(BENCH_VENV)/bin/python $(INSTALL) --editable '.[train,dev,bench$(if $(HAS_DRIVER),$(comma)gpu,)]'
	@touch $@

$(VENV)/.created $(BENCH_VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; install it, or run make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11; run make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(@D)
	@touch $@
