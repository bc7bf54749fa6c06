# Everything here sets up what it needs: a virtual environment in .venv and the compiled core.
# `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest

# What the compiled modules are made of; a directory changes when a file comes or goes.
SOURCES := setup.py $(shell find core \( -type d -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' \))
INSTALLED := $(VENV)/installed.stamp
BUILT := build/built.stamp

INPUT ?=
SEED ?=
SEEDS ?= 2000
PROFILE ?= swarm
MUTANTS ?=
ROUNDS ?= 50
BASE ?= HEAD~1
PAIRS ?= 5
ONLY ?=
TESTS ?= tests

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test verify fix build soak crash fuzz sim sim-full mutants asan tsan packaging clean \
	bench bench-compare bench-scaling bench-plots bench-instructions bench-instructions-update

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-25s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml setup.py .ci/prepare.py
	$(PYTHON) .ci/prepare.py $(VENV)
	@touch $@

$(BUILT): $(INSTALLED) $(SOURCES)
	$(PY) setup.py --quiet build_ext --inplace
	@mkdir -p build && touch $@

build: $(BUILT)  ## the virtual environment and the compiled core (only what changed)

demo: $(BUILT)  ## three processes, a killed leader, nothing lost; INPUT=FILE proposes that file's lines
	$(PY) -m quorumlog demo $(if $(INPUT),--input "$(INPUT)")

test: $(BUILT)  ## all tests that CI runs; TESTS=tests/raft for some
	$(PYTEST) $(TESTS)

verify: $(BUILT)  ## ruff, cython-lint, mypy --strict, stubs against the compiled modules, instructions of the hot paths
	$(PY) -m ruff check .
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint core
	$(PY) -m mypy
	$(PY) .ci/stubs.py
	$(PY) -m quorumlog bench instructions --kept bench/instructions.json --check

fix: $(BUILT)  ## what ruff can mend by itself
	$(PY) -m ruff check --fix .

soak: $(BUILT)  ## kill -9 in a loop on real processes; ROUNDS=50; and a snapshot of 4 GiB
	QUORUMLOG_ROUNDS=$(ROUNDS) QUORUMLOG_STATE_BYTES=4294967296 $(PYTEST) --timeout=0 -m processes tests/processes

crash: $(BUILT)  ## crash states of the real log: every prefix, many subsets of pending sectors
	QUORUMLOG_DEPTH=deep $(PYTEST) --timeout=0 -k "crash or corruption" tests

fuzz: $(BUILT)  ## frames and recovery against random bytes, for longer than in CI
	QUORUMLOG_DEPTH=deep $(PYTEST) --timeout=0 -k fuzz tests

sim: $(BUILT)  ## the simulation over 2,000 seeds; SEED=17 repeats one run and leaves its trace
	$(PY) -m quorumlog sim --profile $(PROFILE) \
		$(if $(SEED),--seed $(SEED) --trace build/seed-$(SEED).ndjson,--seeds 0:$(SEEDS))

sim-full: $(BUILT)  ## the simulation over 100,000 seeds
	$(PY) -m quorumlog sim --seeds 0:100000

# A build of its own below build/; MUTANTS=name for one, MUTANTS="--rotation 5" for five.
mutants: $(BUILT)  ## which invariant or test sees each deliberate wrong behaviour, and how soon
	QUORUMLOG_BUILD=mutants $(PY) setup.py --quiet build --build-base build/mutants --build-lib build/mutants/lib
	PYTHONPATH=build/mutants/lib $(PY) tests/simulation/mutants.py $(MUTANTS)

bench: $(BUILT)  ## the cluster benchmark beside the limit program, then micro and macro benchmarks
	$(PY) -m quorumlog bench cluster --with-limit
	$(PYTEST) bench/micro bench/macro --benchmark-sort=name --benchmark-columns=min,median,iqr,rounds

bench-compare: $(BUILT)  ## this tree against another revision, run in turn; BASE=rev PAIRS=5 ONLY='batch single micro'
	$(PY) bench/compare.py $(BASE) --pairs $(PAIRS) $(ONLY)

bench-scaling: $(BUILT)  ## payloads and numbers of nodes beside the limit, into bench/results (tens of minutes)
	$(PY) -m quorumlog bench scaling --output bench/results/scaling.json

# Drawn again from what is kept; only where nothing is, it is measured.
bench/results/scaling.json:
	$(MAKE) bench-scaling

bench-plots: $(BUILT) bench/results/scaling.json  ## latency against offered load, and the figures of bench/results drawn into docs/images
	$(PY) -m quorumlog bench sweep --output bench/results/sweep.json
	$(PY) -m quorumlog bench plot bench/results/sweep.json docs/images/latency-by-load.png
	$(PY) -m quorumlog bench plot bench/results/scaling.json docs/images/fraction-by-payload.png

bench-instructions: $(BUILT)  ## instructions of the hot paths by callgrind, beside the kept ones
	$(PY) -m quorumlog bench instructions --kept bench/instructions.json

bench-instructions-update: $(BUILT)  ## keeps what they are now
	$(PY) -m quorumlog bench instructions --kept bench/instructions.json --update

# Sanitizers: a build of its own below build/, in front of the editable one.  Leaks: Python itself
# leaves memory to the end of the process, so only asan's other findings count there.  A finding ends
# the process: pytest must not hold back what it says (--capture=sys), nor the test's name (-v).
SANITIZED = $(shell gcc -print-file-name=lib$(1).so)
SANITIZED_BUILD = QUORUMLOG_BUILD=$(1) $(PY) setup.py --quiet build --build-base build/$(1) --build-lib build/$(1)/lib
SANITIZED_TEST = PYTHONPATH=build/$(1)/lib LD_PRELOAD="$(call SANITIZED,$(1))" PYTHONMALLOC=malloc \
	$(PYTEST) -p no:cacheprovider --timeout=0 --capture=sys -v --ignore=tests/packaging \
	-m "not slow and not processes" $(TESTS)

asan: $(BUILT)  ## the tests under the address and undefined-behaviour sanitizers
	$(call SANITIZED_BUILD,asan)
	ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 $(call SANITIZED_TEST,asan)

# A fixed address layout: gcc 12's runtime doesn't start under the wide randomisation of newer kernels.
tsan: $(BUILT)  ## the tests under the thread sanitizer
	$(call SANITIZED_BUILD,tsan)
	TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 setarch -R env $(call SANITIZED_TEST,tsan)

packaging: $(BUILT)  ## sdist, wheel and installs in clean virtual environments
	QUORUMLOG_DEPTH=deep $(PYTEST) tests/packaging

clean:  ## everything that was made, but not var/
	rm -rf build dist $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks python/*.egg-info
	find core python tests \( -name '*.so' -o -name '*.pyc' -o -name '*.c' -path 'core/*' -o -name '*.html' -path 'core/*' \) -delete
