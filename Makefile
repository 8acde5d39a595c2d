# make serve   set up what serving needs and serve on http://127.0.0.1:8000
# make test    set up everything and run linters, type checker and tests
# make reproduce    rerun the paper's tables (hours without a GPU); REPRODUCE="--table 1 --seeds 1" for a part

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
comma := ,
INPUTS := pyproject.toml constraints.txt
# CUDA libraries are gigabytes: only where there is a driver that could use them.
HAS_DRIVER := $(shell nvidia-smi -L 2>/dev/null)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help serve test reproduce clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' $(firstword $(MAKEFILE_LIST))

serve: $(VENV)/.serve-ready
	@exec $(BIN)/cin serve

test: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PYTEST_ARGS)

REPRODUCE ?=
reproduce: $(VENV)/.test-ready
	@exec $(BIN)/cin-train reproduce --config model_training/configs/isic2017.toml $(REPRODUCE)

clean:
	rm -rf $(VENV) build *.egg-info

# A stamp is written last, so an interrupted installation is done again.
$(VENV)/.serve-ready: $(INPUTS) | $(VENV)/.created
	@echo "Installing what serving needs ..."
	@$(INSTALL) --editable '.$(if $(HAS_DRIVER),[gpu],)'
	@touch $@

$(VENV)/.test-ready: $(INPUTS) | $(VENV)/.created
	@echo "Installing what training and testing need ..."
	@$(INSTALL) --editable '.[train,dev$(if $(HAS_DRIVER),$(comma)gpu,)]'
	@touch $@ $(VENV)/.serve-ready

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; install it, or run make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11; run make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
