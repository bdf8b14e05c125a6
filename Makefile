# Each target makes the environment that it needs.
#
#   make demo        pre-train, train Mask R-CNN, print the AP table
#   make test        run all tests
#   make test-docs   run the commands of README.md and docs/ on small data
#   make torture     stop and resume training in many ways; takes long
#   make lint        check format and style with ruff
#   make docs        build the site of the documentation
#   make dist        build and check the source distribution and the wheel
#   make venv        only make the environment of demo and the tests
#   make clean       delete the environments and what was built
#
# STACK=onedl, classic or latest selects other packages for demo and all tests,
# each stack in its own environment. PYTHON=python3.12 selects the
# interpreter. See docs/environments.md.
STACK ?= openmmlab
PYTHON ?= python3
VENV := .venv$(if $(filter-out openmmlab,$(STACK)),-$(STACK))
REQUIREMENTS := requirements/stacks/$(STACK).txt
# What has to be compiled after the rest is installed: mmcv in classic.
SOURCES := $(wildcard requirements/stacks/$(STACK)-source.txt)
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal

PYTHONS := 3.10 3.11 3.12 3.13
ifeq ($(STACK),classic)
PYTHONS := 3.10 3.11
endif

define CHECK_PYTHON
version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 1; \
case " $(PYTHONS) " in \
*" $$version "*) ;; \
*) echo "STACK=$(STACK) needs Python $(PYTHONS), but $(PYTHON) is $$version." >&2; \
   echo "Select another interpreter, for example PYTHON=python3.11." >&2; exit 1 ;; \
esac
endef

.PHONY: demo test test-docs torture lint docs dist venv clean

demo: venv
	$(VENV)/bin/python tools/demo.py

test: venv
	$(PYTEST)

test-docs: venv
	$(PYTEST) -m commands

torture: venv
	$(PYTEST) -v -m torture

lint: .venv-lint/.installed
	.venv-lint/bin/ruff format --check .
	.venv-lint/bin/ruff check .

docs: .venv-docs/.installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

dist: .venv-dist/.installed
	rm -rf dist
	.venv-dist/bin/python -m build
	.venv-dist/bin/twine check --strict dist/*

venv: $(VENV)/.installed

$(VENV)/.installed: $(wildcard requirements/stacks/*.txt) $(REQUIREMENTS) pyproject.toml setup.py
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -r $(REQUIREMENTS)
	$(if $(SOURCES),MMCV_WITH_OPS=1 $(VENV)/bin/python -m pip install --no-build-isolation -r $(SOURCES))
	$(VENV)/bin/python -m pip install --no-deps -e .
	touch $@

# Small environments for lint, docs and dist.
.venv-%/.installed: requirements/%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install -r $<
	touch $@

clean:
	rm -rf .venv .venv-* build dist site *.egg-info
