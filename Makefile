# The two commands that matter: `make lab` opens the book, `make test` proves that it works.
# PYTHON=python3.12 chooses another interpreter; ARGS="--no-browser --port 9999" goes to `jupyter lab`;
# CONSTRAINTS=/dev/null takes the newest versions of all packages.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := shakespeare,vectors
CONSTRAINTS ?= constraints.txt
PROXY  := configurable-http-proxy@5.1.0
NPROC  := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

.PHONY: help lab test build lite bench clean

help:
	@echo "make lab    set up (first time) and open the book in JupyterLab; ARGS=... goes to jupyter lab"
	@echo "make test   set up and pass every test"
	@echo "make build  make the generated files again: notebooks, exercises, the chapters as a library"
	@echo "make lite   build the site whose chapters run inside the browser: .bow2gpt/lite"
	@echo "make bench  measure the book's code beside the libraries people use"
	@echo "make clean  remove the environment"

lab: $(VENV)/.lab
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab --LabApp.default_url=/lab/tree/chapters/00_start_here.ipynb $(ARGS)

# `loadfile` keeps the tests of one file, which share expensive fixtures, on one core. In the order of their names the
# chapters, which take longest, come early.
test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(NPROC) --dist loadfile --no-loadscope-reorder $(ARGS)

build: $(VENV)/.lab
	$(BIN)/bow2gpt build

lite: $(VENV)/.lite
	$(BIN)/python book/lite.py

bench: $(VENV)/.test
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV)

# torch comes first and pinned: asked for later, by another package, it may bring gigabytes of another build.
$(VENV)/.lab: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The book needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python has no venv module here; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' $(CONSTRAINTS) || echo torch)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[$(EXTRAS)]"
	$(BIN)/python -m ipykernel install --sys-prefix --name python3
	touch $@

# Pyodide, the Python of browsers, comes from npm.
$(VENV)/.lite: $(VENV)/.lab book/lite.py
	@command -v npm >/dev/null || { echo "This needs npm; on Debian and Ubuntu: apt install npm"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[$(EXTRAS),lite]"
	$(BIN)/python book/lite.py set-up
	touch $@

# The tests start a JupyterHub, whose proxy comes from npm.
$(VENV)/.test: $(VENV)/.lite
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[$(EXTRAS),lite,test,cluster]"
	npm install --global --prefix $(VENV) --loglevel error $(PROXY)
	touch $@
