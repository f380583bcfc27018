# One command per habit; `make help` lists them. Everything happens inside $(VENV).
VENV ?= .venv
# The interpreter that $(VENV) is made from: `make setup PYTHON=/path/to/python3.11`.
PYTHON ?=
# What `make demo` and `make benchmark` hand on: `make demo ARGS="seed=3"`.
ARGS ?=
# Test processes of `make test` and `make test-fast`; WORKERS=0 runs them in one.
WORKERS ?= 2

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# Written after a complete installation, so that a second `make setup` has nothing to do.
INSTALLED := $(VENV)/.installed
LINK := .dev/dexworld
CANDIDATES := $(or $(PYTHON),python3.11 python3 python)
# The environment of `make test-interop`, and what it is made from: INTEROP_PYTHON=/path/to/python3.12.
INTEROP := .dev/interop
INTEROP_PYTHON ?=
INTEROP_CANDIDATES := $(or $(INTEROP_PYTHON),python3.12 python3.13 python3.11 python3)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-fast test-interop coverage lint type format build benchmark check dev clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## install everything that tests and demo need into .venv

demo: setup ## plan in PushT, in the simulator and in a learned model, and write two reports
	$(BIN)/dexworld-plan experiment=demo_simulator $(ARGS)
	$(BIN)/dexworld-plan experiment=demo $(ARGS)

# The test processes share the cores; threads of their own would only wait for one another.
test test-fast coverage: export OMP_NUM_THREADS = 1

test: setup ## all tests
	$(BIN)/pytest -n $(WORKERS)

coverage: setup ## all tests, and how much of the library they run, in twice the time
	$(BIN)/pytest -n $(WORKERS) --cov=dexworld --cov-report=term:skip-covered --cov-fail-under=90

test-fast: setup ## the tests that take seconds
	$(BIN)/pytest -n $(WORKERS) -m "not slow"

test-interop: setup $(INTEROP)/.installed ## open our datasets in the real lerobot library, in its own environment
	@set -e; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	  $(BIN)/python tests/interop/write_datasets.py "$$scratch"; \
	  HF_HUB_OFFLINE=1 HF_HOME="$$scratch/cache" \
	    $(INTEROP)/bin/python tests/interop/read_with_lerobot.py "$$scratch"

lint: setup ## style, formatting, and which folder imports which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

type: setup dev ## static types
	$(BIN)/mypy

format: setup ## repair style and formatting
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

build: setup ## wheel and sdist in dist/, installed into a clean environment and tried there
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	@set -e; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	  $(BIN)/python -m venv "$$scratch/venv"; \
	  echo "installing $$(ls dist/*.whl) into a clean environment"; \
	  "$$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl; \
	  mkdir "$$scratch/elsewhere"; cp tests/installed_wheel.py "$$scratch/"; \
	  cd "$$scratch/elsewhere"; "$$scratch/venv/bin/python" "$$scratch/installed_wheel.py"

benchmark: setup ## the tables of planners and environments
	$(BIN)/dexworld-benchmark $(ARGS)

check: lint type build test ## all of the above that must pass before a change lands

dev: $(LINK) ## the link through which type checkers find the package

clean: ## remove what builds, tests and tools left behind; .venv and results stay
	rm -rf .dev build dist *.egg-info .coverage .coverage.* htmlcov .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(LINK):
	mkdir -p .dev
	ln -sfn .. $(LINK)

# robosuite without what it imports: scenes take its models, which are files.
# torch first, alone: where pip is configured with a source of CPU builds it is taken from there,
# and the resolver of the second step finds it installed.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python tests/check_environment.py interpreter
	$(INSTALL) torch
	$(INSTALL) -e '.[dev]'
	$(INSTALL) --no-deps robosuite
	@$(BIN)/python tests/check_environment.py one-opencv || \
	  $(INSTALL) --force-reinstall --no-deps opencv-python-headless
	@$(BIN)/python tests/check_environment.py packages
	@touch $@

# Never in $(VENV): lerobot holds torch and numpy to other versions. The newest release that the
# interpreter allows is taken; 0.4 is the first that reads this format, 0.6 needs Python 3.12.
$(INTEROP)/.installed:
	@for candidate in $(INTEROP_CANDIDATES); do \
	  "$$candidate" -c 'import ensurepip, venv' 2>/dev/null && break; candidate=; \
	done; \
	if [ -z "$$candidate" ]; then \
	  echo "make test-interop: none of $(INTEROP_CANDIDATES) is a usable Python;" \
	    "name one: INTEROP_PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	echo "making $(INTEROP) with $$candidate"; rm -rf $(INTEROP); "$$candidate" -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --disable-pip-version-check 'lerobot[dataset]>=0.4'
	@touch $@

$(BIN)/python:
	@python=; seen=; \
	for candidate in $(CANDIDATES); do \
	  version=$$("$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  seen="$$seen $$candidate=$$version"; \
	  if [ "$$version" = 3.11 ]; then \
	    if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then python=$$candidate; break; fi; \
	    seen="$$seen(without venv)"; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make setup: no usable Python 3.11 (looked for: $(CANDIDATES); found:$${seen:- none})." >&2; \
	  case "$$seen" in *without*) \
	    echo "  Python 3.11 is here without its venv module: apt-get install python3.11-venv" >&2;; *) \
	    echo "  Install Python 3.11, or name it: make setup PYTHON=/path/to/python3.11" >&2;; esac; \
	  exit 1; \
	fi; \
	echo "making $(VENV) with $$python"; \
	"$$python" -m venv $(VENV) || { rm -rf $(VENV); echo "make setup: $$python -m venv failed" >&2; exit 1; }
