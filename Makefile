# make serve   set up what serving needs and serve on http://127.0.0.1:8000
# make up      build and start the whole stack with Docker: service, proxy, records, monitoring
# make upgrade replace the running replicas by new ones without turning a request away
# make down    end the stack
#
# make fmt     format the code
# make lint    linter, formatting, import rules
# make types   type checker
# make unit    tests that start no process, train nothing and need neither browser nor Docker: under a minute
# make service tests of the service
# make train   tests of training
# make page    tests of the web page in a browser
# make compose tests of the stack in Docker
# make one     one test: make one T=path::name
# make test    set up everything; lint, types and all tests
# make cov     all tests with line and branch coverage, processes that they start included
# make hooks   run fmt, lint and types before every commit
# make docs    rewrite the generated parts of README.md and docs/
#
# make lock    write the SHA-256 of what serving installs to requirements.lock, after changes of pins; needs the internet
# make sbom    write the bill of materials of what serving needs to build/sbom.json (CycloneDX)
# make audit-packages  look every pinned package up among the known vulnerabilities; needs the internet
# make reproduce    rerun the paper's tables (hours without a GPU); REPRODUCE="--table 1 --seeds 1" for a part
# make gpu     on a machine with an NVIDIA GPU: train at 448, export, compare CUDA with the CPU, measure; resumes
# make torture attacks, faults, overload and bad input; half an hour, or TORTURE=--short for two minutes
# make corpus DIR=...  send every file of a folder to a service, compared with an independent decoder
# make bench   compare the service with the limit of this machine and with other servers; BENCH="--help" for its options

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
comma := ,
INPUTS := pyproject.toml constraints.txt requirements.lock .ci/install.py
# Programs of Node.js, for the tests alone.
NODE_TESTS := tests/page tests/clients
# CUDA libraries are gigabytes: only where there is a driver that could use them.
HAS_DRIVER := $(shell nvidia-smi -L 2>/dev/null)
INSTALL := .ci/install.py

# Compiling PyTorch takes longer than importing it, and many tests start processes: Python keeps what it compiled.
unexport PYTHONDONTWRITEBYTECODE

# Other servers need much that we do not: an environment of their own.
BENCH_VENV := .venv-bench

.PHONY: help serve up down upgrade fmt lint types unit service train page compose one test tests cov hooks docs lock sbom \
	audit-packages reproduce gpu torture corpus bench clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' $(firstword $(MAKEFILE_LIST))

serve: $(VENV)/.serve-ready
	@exec $(BIN)/cin serve

COMPOSE := $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
PASSWORDS := docker/secrets/grafana-password docker/secrets/pacs-password
up: .env $(PASSWORDS)
	VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
	REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(COMPOSE) up --detach --build

# Also what was started before .env changed.
down:
	COMPOSE_PROFILES=dashboards,gpu,pacs $(COMPOSE) down

upgrade:
	@docker/upgrade.sh $$(grep -qs '^COMPOSE_PROFILES=.*gpu' .env && echo service-gpu || echo service)

# On a GPU, its own service takes the place of the CPU's. That is written down, so that every later command means the same.
.env:
	@sed $(if $(HAS_DRIVER),-e 's/^COMPOSE_PROFILES=.*/COMPOSE_PROFILES=dashboards$(comma)gpu/' \
		-e 's/^# SERVICE_REPLICAS=.*/SERVICE_REPLICAS=0/') -e '' .env.example > $@

# Only who may enter the folder can read them on this machine; inside, programs run as other users.
$(PASSWORDS):
	@mkdir -p -m 700 $(@D)
	@od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > $@
	@chmod 644 $@
	@echo "A password was made: $@ (of Grafana's user admin, of the PACS's user cin)"

fmt: $(VENV)/.test-ready
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --fix --quiet .

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports --no-logo

types: $(VENV)/.test-ready
	$(BIN)/mypy

# PYTEST_ARGS takes options such as -k and -x, no paths. One worker more than cores, each with one thread of OpenMP: the
# tests of the stack mostly wait.
WORKERS := $(shell echo $$(( $$(nproc) < 8 ? $$(nproc) + 1 : 8 )))
REPORTS ?=
RUN ?= python -m
PYTEST = $(BIN)/$(RUN) pytest $(if $(REPORTS),--junit-xml=$(REPORTS)/$1.xml) $(PYTEST_ARGS)
SIDE_BY_SIDE = OMP_NUM_THREADS=1 $(PYTEST) --numprocesses=$(WORKERS) --dist=loadgroup --no-loadscope-reorder

# Tests marked `alone` have the machine to themselves, after the others and whatever those found. An empty selection
# (exit status 5) is no failure of one part.
define both
	@many=0; alone=0; \
	$(call SIDE_BY_SIDE,many) -m "not alone" $1 || many=$$?; \
	$(call PYTEST,alone) -m alone $1 || alone=$$?; \
	case $$many,$$alone in 0,0|0,5|5,0) ;; *) echo "side by side ended with $$many, alone with $$alone"; exit 1;; esac
endef

unit: WORKERS := $(shell nproc)
unit: $(VENV)/.test-ready
	$(call SIDE_BY_SIDE,unit) -m "not integration and not alone"

service train page compose: $(VENV)/.test-ready
	$(call both,$(if $(filter train,$@),tests/model_training,tests/$@))

T ?= $(error say which test: make one T=path::name)
one: $(VENV)/.test-ready
	$(call PYTEST,one) $(T)

test: lint types tests
tests: $(VENV)/.test-ready
	$(call both,tests)

# A folder of its own for every run; `combine` takes what all processes wrote.
cov: $(VENV)/.test-ready
	@rm -rf build/coverage
	@mkdir -p build/coverage
	$(MAKE) --no-print-directory tests RUN="coverage run -m"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

hooks: $(VENV)/.test-ready
	$(BIN)/pre-commit install

docs: $(VENV)/.test-ready
	$(BIN)/python -m docs.generate

# Of all platforms. Also the CPU build of ONNX Runtime, which the image takes, and what installs and builds.
lock: $(VENV)/.test-ready
	printf 'onnxruntime\nsetuptools\nuv\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-emit-index-url --custom-compile-command "make lock" \
		--constraint constraints.txt --extra dicom --extra gpu --extra jobs pyproject.toml - --output-file requirements.lock

sbom: $(VENV)/.test-ready
	$(BIN)/python .ci/sbom.py build/sbom.json

audit-packages: $(VENV)/.test-ready
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

TORTURE ?=
torture: $(VENV)/.torture-ready
	@exec $(BIN)/python -m tests.torture $(TORTURE)

DIR ?= $(error say which folder: make corpus DIR=path)
corpus: $(VENV)/.test-ready
	@exec $(BIN)/python -m tests.corpus $(DIR)

# The tables of the short configuration are in results/ itself.
REPRODUCE ?=
REPRODUCE_AS = --config model_training/configs/isic2017.toml --results results/protocol
reproduce: $(VENV)/.test-ready
	@exec $(BIN)/cin-train reproduce $(REPRODUCE_AS) $(REPRODUCE)

GPU_RUN ?= runs/gpu
GPU_CONFIG ?= model_training/configs/isic2017.toml
GPU_BENCH ?= --only ours
TRAIN_ON_GPU = $(BIN)/cin-train $1 --config $(GPU_CONFIG) --run $(GPU_RUN) --set accelerator=cuda $(GPU_TRAIN)
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
	rm -rf $(VENV) $(BENCH_VENV) $(NODE_TESTS:=/node_modules) build *.egg-info

# A stamp is written last, so an interrupted installation is done again.
$(VENV)/.serve-ready: $(INPUTS) | $(VENV)/.created
	@echo "Installing what serving needs ..."
	@$(BIN)/python $(INSTALL) '.[dicom,jobs$(if $(HAS_DRIVER),$(comma)gpu,)]'
	@touch $@

$(VENV)/.test-ready: $(INPUTS) $(NODE_TESTS:=/package-lock.json) | $(VENV)/.created
	@echo "Installing what training and testing need ..."
	@if command -v npm >/dev/null; then \
		(set -e; for each in $(NODE_TESTS); do npm ci --silent --prefix $$each; done) & \
	fi; \
	$(BIN)/python $(INSTALL) '.[dicom,jobs,parquet,ray,s3,train,dev$(if $(HAS_DRIVER),$(comma)gpu,)]' && wait $$!
	@touch $@ $(VENV)/.serve-ready

$(VENV)/.torture-ready: $(INPUTS) | $(VENV)/.test-ready
	@echo "Installing a fuzzer ..."
	@$(BIN)/python $(INSTALL) '.[dicom,jobs,parquet,ray,s3,train,dev,torture$(if $(HAS_DRIVER),$(comma)gpu,)]'
	@touch $@

$(BENCH_VENV)/.bench-ready: $(INPUTS) | $(BENCH_VENV)/.created
	@echo "Installing the other servers ..."
	@$(BENCH_VENV)/bin/python $(INSTALL) '.[train,dev,bench$(if $(HAS_DRIVER),$(comma)gpu,)]'
	@touch $@

$(VENV)/.created $(BENCH_VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; install it, or run make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11; run make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(@D)
	@touch $@
