# make demo    everything, end to end, on simulated data, in a virtual environment of its own
# make test    linters and tests
# make help    the rest

PYTHON ?= $(shell command -v python3.11 || command -v python3)
OUT ?= demo-out
WORKERS ?= 2

# The newest Python of pyenv or the path, from 3.12 on.
NEWEST_PYTHON ?= $(shell for minor in 14 13 12; do \
	ls $(HOME)/.pyenv/versions/3.$$minor.*/bin/python3.$$minor 2>/dev/null || command -v python3.$$minor; done | head -1)

# Compiled modules are kept: dozens of processes import torch and the tests.
unexport PYTHONDONTWRITEBYTECODE
# uv reads none of pip's settings: where pip is told to look, it looks too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_DEFAULT_INDEX ?= $(or $(PIP_INDEX_URL),https://pypi.org/simple)

FULL := .venv
CORE := .venv-core
NEWEST := .venv-newest
LOWEST := .venv-lowest
# What takes torch and numpy 2 at once, or an encoder without laion-clap: test-newest runs the rest on newer packages still. Not the
# searches and the comparisons with plain loops, which are about torch alone.
NEED_TORCH := tests/features/encoders tests/finetuning \
	$(addprefix tests/reporting/,page/test_report.py plots/test_data.py plots/test_plots.py plots/test_studies.py) \
	$(addprefix tests/estimators/test_,domain.py persistence.py persistence_tensors.py preparation.py regressor.py \
	regressor_inputs.py regressor_losses.py regressor_weights.py sklearn_checks.py) \
	$(addprefix tests/,cli/test_app.py cli/test_predict.py test_import.py test_optional.py)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-random check docs dist lint test-core test-newest test-lowest environments format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(FULL)/.installed  ## run everything, end to end, on a simulated listening test, into OUT=demo-out
	$(FULL)/bin/musiceval demo --out $(OUT) --force

test: $(FULL)/.installed lint  ## run linters and all but the slow tests
	$(FULL)/bin/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow"

test-slow: $(FULL)/.installed  ## run the slow tests: browsers, killed processes, simulations, docs and examples as they stand
	$(FULL)/bin/python -m pytest -n $(WORKERS) --dist loadgroup -m slow

test-random: $(FULL)/.installed  ## run all but the slow tests in a random order; SEED=, as it is printed, does so again
	$(FULL)/bin/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow" -p randomly $(if $(SEED),--randomly-seed $(SEED))

check: lint  ## linters, and the tests of what one touches most: statistics, estimators, ratings, under two minutes
	$(FULL)/bin/python -m pytest -n $(WORKERS) --dist loadgroup -q -m "not slow" tests/statistics tests/ratings tests/test_import.py tests/test_layout.py

docs: $(FULL)/.installed  ## build the site into docs/_build, gallery included; any warning is an error
	$(FULL)/bin/python -m sphinx -q -W --keep-going docs docs/_build

dist: $(FULL)/.installed  ## build wheel and sdist into dist/, check them, and install the wheel into an empty environment
	rm -rf dist
	$(FULL)/bin/python -m build --quiet
	$(FULL)/bin/python -m twine check --strict dist/*
	$(PYTHON) -m venv dist/venv
	dist/venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints/full.txt dist/*.whl
	cd dist && venv/bin/musiceval --version && venv/bin/python -c "import musiceval_sk; print(musiceval_sk.list_encoders())"
	rm -rf dist/venv

lint: $(FULL)/.installed  ## ruff, mypy, import-linter
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/lint-imports
	$(FULL)/bin/mypy

test-core: $(CORE)/.installed  ## run all but the slow tests on numpy 2 without laion-clap; where test-newest runs, what that leaves out
	$(CORE)/bin/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow" $(if $(NEWEST_PYTHON),$(NEED_TORCH))

ifeq ($(NEWEST_PYTHON),)
test-newest:
	@echo "no Python newer than 3.11 was found: the tests with newest packages are skipped"
else
test-newest: $(NEWEST)/.installed  ## run the tests that need no torch on the newest Python and packages
	$(NEWEST)/bin/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow" tests --ignore tests/reporting
endif

test-lowest: $(LOWEST)/.installed  ## run all but the slow tests on the lowest versions that pyproject.toml allows
	$(LOWEST)/bin/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow" tests

environments: $(FULL)/.installed $(CORE)/.installed $(if $(NEWEST_PYTHON),$(NEWEST)/.installed)  ## install those of CI, at once with --jobs 2

format: $(FULL)/.installed  ## let ruff put the code in order
	$(FULL)/bin/ruff check --fix .
	$(FULL)/bin/ruff format .

clean:  ## delete environments, caches and the demo's output
	rm -rf $(FULL) $(CORE) $(NEWEST) $(LOWEST) $(OUT) docs/_build docs/gallery docs/generated .mypy_cache .pytest_cache .ruff_cache

# The numbers in constraints/ are the versions that the tests ran with. laion-clap holds the full one to numpy < 2. muq comes
# without what it asks for besides (torchaudio and torchvision do not load beside a torch for CPUs alone): the encoder does not use it.
$(FULL)/.installed: pyproject.toml constraints/full.txt
	$(call install,$(FULL),clap$(comma)finetune$(comma)parquet$(comma)report$(comma)dask$(comma)listen$(comma)xlsx$(comma)torchmetrics$(comma)datasets$(comma)onnx$(comma)references$(comma)docs$(comma)dev,full,einops easydict muq)

$(CORE)/.installed: pyproject.toml constraints/core.txt
	$(call install,$(CORE),hf$(comma)finetune$(comma)parquet$(comma)report$(comma)dev,core)

$(LOWEST)/.installed: pyproject.toml constraints/lowest.txt
	$(call install,$(LOWEST),parquet$(comma)report$(comma)dev,lowest)

# Newest versions, but no torch: its build for a new Python is gigabytes.
define REQUIREMENTS
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
tools = [name for name in extras["dev"] if name.startswith(("hypothesis", "pytest"))]
wanted = [*project["dependencies"], *extras["parquet"], *extras["report"], *tools]
print(*(name for name in wanted if not name.startswith("torch")), sep="\n")
endef
export REQUIREMENTS

$(NEWEST)/.installed: pyproject.toml
	$(NEWEST_PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -c "$$REQUIREMENTS" > $(NEWEST)/requirements.txt
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(call uv,$(NEWEST)) --requirement $(NEWEST)/requirements.txt
	$(call uv,$(NEWEST)) --no-deps --editable .
	@touch $(NEWEST)/.installed

comma := ,
uv = $(1)/bin/uv pip install --quiet --python $(1)/bin/python
define install
	@test -n "$(PYTHON)" || { echo "no python3 found; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(call uv,$(1)) --constraint constraints/$(3).txt --editable '.[$(2)]'
	$(if $(4),$(call uv,$(1)) --constraint constraints/$(3).txt --no-deps $(4))
	@touch $(1)/.installed
endef
