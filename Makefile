# Each target makes the environment that it needs.
#
#   make demo        pre-train, train Mask R-CNN, print the AP table
#   make test        run the tests
#   make test-slow   run the tests that take longer
#   make test-app    test the page of tools/app.py in Chromium
#   make test-docs   run the commands of README.md and docs/ on small data
#   make torture     kill, stop and resume training in many ways; takes long
#   make lint        check format and style with ruff
#   make docs        build the site of the documentation
#   make dist        build and check the source distribution and the wheel
#   make venv        only make the environment of demo and the tests
#   make locks       update requirements/locks/ after changing the pins
#   make model-zoo   update docs/model_zoo.md after changing configs/metafile.yml
#   make licenses    update docs/licenses.md after changing the pins
#   make audit       look for known vulnerabilities in the pinned packages
#   make clean       delete the environments and what was built
#
# STACK=onedl, classic or latest selects other packages for demo and the tests,
# each stack in its own environment. PYTHON=python3.12 selects the
# interpreter. See docs/environments.md.
STACK ?= openmmlab
PYTHON ?= python3
VENV := .venv$(if $(filter-out openmmlab,$(STACK)),-$(STACK))
PIP := $(VENV)/bin/python -m pip install
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal

# The stacks whose packages pip checks against the hashes in requirements/locks.
# build.txt comes first: it builds the packages that have no wheel.
LOCKED := openmmlab onedl
# What has to be compiled after the rest is installed: mmcv in classic.
SOURCES := $(wildcard requirements/stacks/$(STACK)-source.txt)

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

.PHONY: demo test test-slow test-app test-docs torture lint docs dist venv locks model-zoo licenses audit clean

demo: venv
	$(VENV)/bin/python tools/demo.py

test: venv
	$(PYTEST)

test-slow: venv
	$(PYTEST) -m 'slow and not torture'

test-app: $(VENV)/.app
	$(PYTEST) -rs tests/app

test-docs: $(VENV)/.app
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

$(VENV)/.installed: $(wildcard requirements/stacks/*.txt requirements/locks/*.txt) requirements/stacks/$(STACK).txt pyproject.toml setup.py
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
ifneq ($(filter $(STACK),$(LOCKED)),)
	$(PIP) --require-hashes -r requirements/locks/build.txt
	$(PIP) --no-build-isolation --require-hashes -r requirements/locks/$(STACK).txt
	$(PIP) --no-build-isolation --no-deps -e .
else
	$(PIP) -r requirements/stacks/$(STACK).txt
	$(if $(SOURCES),MMCV_WITH_OPS=1 $(PIP) --no-build-isolation -r $(SOURCES))
	$(PIP) --no-deps -e .
endif
	@# yapf stores its grammar at its first import. Two tests would read it half-written.
	@$(VENV)/bin/python -c 'import yapf'
	touch $@

# Gradio and what drives the browser, on top of the stack.
$(VENV)/.app: $(VENV)/.installed requirements/locks/app.txt
	$(PIP) --only-binary :all: --no-deps --require-hashes -r requirements/locks/app.txt
	touch $@

locks: .venv-locks/.installed
	for name in build $(LOCKED) app; do \
	  .venv-locks/bin/uv pip compile requirements/stacks/$$name.txt \
	    --output-file requirements/locks/$$name.txt --quiet --upgrade --no-deps \
	    --universal --python-version 3.10 --generate-hashes --no-annotate \
	    --custom-compile-command 'make locks' || exit 1; \
	done

audit: .venv-audit/.installed
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes \
	  $(LOCKED:%=-r requirements/locks/%.txt) -r requirements/locks/app.txt

model-zoo: venv
	$(VENV)/bin/python tools/model_zoo.py

licenses: $(VENV)/.app
	$(VENV)/bin/python requirements/licenses.py

# Small environments for lint, docs, dist, locks and audit.
.venv-%/.installed: requirements/%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install -r $<
	touch $@

clean:
	rm -rf .venv .venv-* build dist site *.egg-info
