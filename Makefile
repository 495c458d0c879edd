# make demo and make test work on a fresh machine: they create .venv and install what is pinned.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FUZZ_TRIES ?= 2000
CHAOS_FAULTS ?= 100
ROOMS := ledger mixtures pipeline tokenize train cli api
export OMP_NUM_THREADS ?= 1
export RAY_USAGE_STATS_ENABLED = 0

.PHONY: demo tutorial guides docs site test fuzz chaos test-browser unit unit-data unit-train lint types layers format bench dist install clean

demo: install
	$(BIN)/mixproof demo

# every command of docs/tutorial.md, in order, in a new folder
tutorial: install
	rm -rf .tutorial
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/shell_blocks.py docs/tutorial.md .tutorial

# every command of the guides, on small inputs
guides: install
	rm -rf .guides
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/guide_commands.py .guides

# docs/reference/, from the code
docs: install
	$(BIN)/python docs/reference_pages.py

# the documentation as a site, in site/; a broken link fails it
site: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

test: lint types layers unit

# in two processes, each with a Ray of its own: one would leave a processor idle half of the time
unit: install
	$(MAKE) --no-print-directory --output-sync=target -j2 unit-data unit-train

unit-train: install
	$(BIN)/python -m pytest --durations=15 tests/cli tests/train

# every other test
unit-data: install
	$(BIN)/python -m pytest --durations=15 --ignore=tests/cli --ignore=tests/train tests

fuzz: install
	MIXPROOF_FUZZ_TRIES=$(FUZZ_TRIES) $(BIN)/python -m pytest --timeout=3600 tests/fuzz

# what takes minutes on a cluster in a box, then random faults on it (needs root and `ip netns`)
chaos: install
	$(BIN)/python -m pytest -m chaos --durations=5 tests/cluster
	$(BIN)/python tests/cluster/chaos.py --faults $(CHAOS_FAULTS)

test-browser: install
	$(BIN)/python -m pytest -m browser --durations=5

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: install
	$(BIN)/mypy

layers: install
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python benchmarks/main_job.py

# wheel and sdist
dist: install
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,lm-eval,wandb,dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .demo .tutorial site
