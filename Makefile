# `make` alone lists the targets. Everything runs in .venv, which is made from requirements.lock.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env reproduce data test lint lock clean

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
override VENV := .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

# Stamps are named by content, not by time: a fresh clone, a branch or a touched file changes nothing.
CHECKSUM := cksum | tr ' ' '-'
LOCKED := $(VENV)/.locked-$(shell cat requirements.lock | $(CHECKSUM))
INSTALLED := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | $(CHECKSUM))

# Threads are left to PyTorch and OMP_NUM_THREADS; notebooks set their own plotting backend.
export PYTHONUNBUFFERED := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

help:  ## this list
	@echo "make TARGET, one of:"
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

env: $(INSTALLED)  ## make .venv, or bring it up to requirements.lock
	@echo "[env] $(VENV) is ready"

reproduce: env  ## run all notebooks on the miniature; ARGS="--profile paper --from 03 --seeds 0 1 2"
	@$(BIN)/python -m motion_lib reproduce $(ARGS)

data: env  ## fetch descriptions and official lists into MOTION_DATA; say what is missing; ARGS="--check"
	@$(BIN)/python -m motion_lib data $(ARGS)

test: lint  ## lint, then all tests; ARGS="-m 'not slow' -k records", ARGS=--cov=motion_lib for coverage, slower
	@echo "[test] pytest in two processes; slow tests run notebooks and may be silent for a minute"
	@MPLBACKEND=Agg OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

lint: env  ## ruff, and that no notebook holds outputs
	@echo "[lint] ruff check, ruff format --check, nbstripout --verify"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify --keep-id $(NOTEBOOKS),echo "no notebooks yet")

lock:  ## write requirements.lock: pyproject.toml's needs at .venv's versions; UPGRADE=1 takes the newest
	@started=$$(date +%s); test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	echo "[lock] installing what pyproject.toml asks for ..."; \
	$(BIN)/python -m pip install --quiet 'setuptools>=77,<81'; \
	$(BIN)/python -m pip install --quiet --no-build-isolation \
	    $(if $(UPGRADE),--upgrade --upgrade-strategy eager) --editable '.[notebooks,dev]'; \
	{ grep '^#' requirements.lock; $(BIN)/python -m pip freeze --all --exclude-editable \
	    | grep -viE '^(pip|wheel|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==' \
	    | sed -E -e 's/^(torch|torchvision)(==[^+]+)\+.*/\1\2/' \
	             -e "s/^decord==.*/&; platform_machine == 'x86_64'/"; } > requirements.lock.new; \
	mv requirements.lock.new requirements.lock; \
	rm -f $(VENV)/.locked-* $(VENV)/.installed-*; \
	touch $(VENV)/.locked-$$(cat requirements.lock | $(CHECKSUM)); \
	touch $(VENV)/.installed-$$(cat requirements.lock pyproject.toml | $(CHECKSUM)); \
	echo "[lock] requirements.lock written in $$(( $$(date +%s) - started )) s"

clean:  ## remove .venv and tool caches; data, results and figures stay
	@echo "[clean] removing $(VENV) and tool caches"
	@rm -rf $(VENV) .pytest_cache .ruff_cache .coverage motion_lib.egg-info
	@find motion_lib tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

$(LOCKED):
	@started=$$(date +%s); \
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "[env] Python 3.11, 3.12 or 3.13 is needed: make env PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	echo "[env] creating $(VENV) from requirements.lock; PyTorch is large, this takes minutes ..."; \
	$(PYTHON) -m venv --clear $(VENV); \
	$(BIN)/python -m pip install --quiet --requirement requirements.lock; \
	touch $@; \
	echo "[env] packages installed in $$(( $$(date +%s) - started )) s"

$(INSTALLED): $(LOCKED)
	@started=$$(date +%s); echo "[env] installing motion_lib into $(VENV) ..."; \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	$(BIN)/python -m pip check; \
	rm -f $(VENV)/.installed-*; touch $@; \
	echo "[env] motion_lib installed in $$(( $$(date +%s) - started )) s"
