# make demo    the whole road on simulated data, in a virtual environment of its own
# make test    linters and tests
# make help    the rest

PYTHON ?= $(shell command -v python3.11 || command -v python3)
OUT ?= demo-out
WORKERS ?= 2

FULL := .venv
CORE := .venv-core
LINTED := $(shell find musiceval_sk -name '*.py' ! -name '_*' ! -name 'cli*.py')

.DEFAULT_GOAL := help
.PHONY: help demo test lint test-core environments format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(FULL)/.installed  ## run the whole road on a simulated listening test, into OUT=demo-out
	$(FULL)/bin/musiceval demo --out $(OUT)

test: $(FULL)/.installed lint  ## run linters and tests
	$(FULL)/bin/python -m pytest -n $(WORKERS) --dist loadgroup

lint: $(FULL)/.installed  ## ruff, numpydoc, mypy
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/numpydoc lint $(LINTED)
	$(FULL)/bin/mypy

test-core: $(CORE)/.installed  ## run all but the slow tests on numpy 2 without laion-clap
	$(CORE)/bin/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow"

environments: $(FULL)/.installed $(CORE)/.installed  ## install both, at once with --jobs 2

format: $(FULL)/.installed  ## let ruff put the code in order
	$(FULL)/bin/ruff check --fix .
	$(FULL)/bin/ruff format .

clean:  ## delete environments, caches and the demo's output
	rm -rf $(FULL) $(CORE) $(OUT) .mypy_cache .pytest_cache .ruff_cache

# The numbers in constraints/ are the versions that the tests ran with. laion-clap holds the full one to numpy < 2.
$(FULL)/.installed: pyproject.toml constraints/full.txt
	$(call install,$(FULL),clap$(comma)finetune$(comma)parquet$(comma)report$(comma)dask$(comma)dev,full)

$(CORE)/.installed: pyproject.toml constraints/core.txt
	$(call install,$(CORE),hf$(comma)finetune$(comma)parquet$(comma)report$(comma)dev,core)

comma := ,
define install
	@test -n "$(PYTHON)" || { echo "no python3 found; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints/$(3).txt --editable '.[$(2)]'
	@touch $(1)/.installed
endef
