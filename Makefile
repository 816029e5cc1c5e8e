# Two commands: `make demo` and `make test`. Everything they need, they install: Python packages into .venv, and as root
# the servers of the tests from the system's packages. PYTHON=python3.12 chooses another interpreter (3.11 or newer).

PYTHON ?= python3
TOOLS := .bootstrap
UV_VERSION := 0.13.9
UV := $(shell command -v uv 2>/dev/null || echo $(TOOLS)/bin/uv)
# Where Python may write no bytecode, every start would compile 1,500 files again, which doubles its time.
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)
SYNC := UV_PYTHON_DOWNLOADS=never $(UV) sync --quiet --frozen --python $(PYTHON) $(COMPILE)
OWN := $(if $(COMPILE),.venv/bin/python -m compileall -q ingest storage dashboards/techport_dashboards pilots simulators techport)
RUN := .venv/bin
VENDOR := dashboards/techport_dashboards/web/static/vendor
CATALOGUE := dashboards/techport_dashboards/web/locales/nb.po

# What `make help` prints of each target stands behind its ##.
.PHONY: help demo shell test test-fast test-slow test-faults test-cluster soak test-six-dates test-dates lint docs pictures messages fuzz-api assets install install-dev system-packages pin-images audit clean

help:
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: install assets ## the whole platform with a simulated district; ARGS="..." are given to `techport demo`
	@$(RUN)/techport demo $(ARGS)

shell: install ## a shell in which the command `techport` is found
	@PATH="$(abspath $(RUN)):$$PATH" $${SHELL:-/bin/sh}

# One more than the two cores that the suite is meant for: tests wait for servers and browsers a third of their time.
PYTEST := $(RUN)/pytest -n 3 --dist worksteal

test: install-dev system-packages assets ## all tests but the slow ones, those with faults and of clusters; ARGS="..." for pytest
	$(PYTEST) -m "not slow and not faults and not cluster" $(ARGS)

test-slow: install-dev system-packages assets ## pages in a browser, whole deployments, notebooks, simulations
	$(PYTEST) -m "slow and not faults and not cluster" $(ARGS)

test-fast: install-dev ## the tests that need no server and no other process: about a minute
	$(PYTEST) -m fast $(ARGS)

test-faults: install-dev system-packages assets ## processes are killed, disks are full, servers stand still
	$(PYTEST) -m "faults and not cluster" $(ARGS)

# Two at once: each may run several servers of its own.
test-cluster: install-dev system-packages ## engines for more than one machine: NATS, IoTDB, the archive and what reads it, the chart
	$(RUN)/pytest -n 2 --dist worksteal -m cluster $(ARGS)

# Goes on where it was ended; results in benchmarks/soak.jsonl, the table in docs/guarantees.md. ARGS="--rounds 50".
soak: install-dev system-packages ## a thousand rounds of faults, from seeds: hours; may be ended and started again
	$(RUN)/python -m tests.faults.soak $(ARGS)

test-six-dates: install-dev system-packages assets ## tests that could depend on the calendar, under six dates
	$(RUN)/python -m tests.dates $(ARGS)

# A fixed date in place of today's, for all tests and what they start: make test-dates DATE=2028-02-29T12:00Z
DATE ?= rotating
test-dates: install-dev system-packages assets ## both of them under another date: one of six, or DATE=...
	TECHPORT_TEST_DATE=$(DATE) $(PYTEST) -m "not faults and not cluster" $(ARGS)

lint: install-dev ## ruff, mypy and the layers
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

# Writes what the documentation shows of the code: the modules of each component and the picture of imports.
docs: install-dev ## the lists of modules in READMEs and the picture of imports
	$(RUN)/python docs/modules.py
	$(RUN)/python docs/pictures/imports.py

# What the documentation shows of the default demo. Needs Chromium, and a minute or two.
pictures: install-dev assets ## the pictures of pages in docs/pictures, taken of a demo that is started for it
	$(RUN)/python -m tests.browser.pictures

# Collects the texts of the pages and adds new ones to the catalogue, without a translation. Run twice, it changes nothing.
messages: install-dev ## adds new texts of pages to the catalogue, to be translated
	@mkdir -p artefacts
	@$(RUN)/pybabel -q extract -F babel.cfg -k t -k n_:1,2 -k Problem:2 --no-location --sort-output --omit-header -o artefacts/pages.pot .
	@$(RUN)/pybabel -q update -i artefacts/pages.pot -o $(CATALOGUE) -l nb --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --no-wrap
	@echo "$(CATALOGUE): $$(($$(grep -c '^msgstr ""' $(CATALOGUE)) - 1)) texts are new"

# What its own description allows, asked of the API at length.
fuzz-api: install-dev
	TECHPORT_FUZZ_EXAMPLES=500 $(RUN)/pytest tests/dashboards/test_fuzz.py

install: $(UV)
	@$(SYNC) --no-dev --inexact
	@$(OWN)

install-dev: $(UV)
	@$(SYNC)
	@$(OWN)

# A small plotly.js in place of the large one that the plotly package carries: pages open faster. Needs npm; goes without.
assets: $(VENDOR)/.made

$(VENDOR)/.made: dashboards/package-lock.json
	@if command -v npm >/dev/null && (cd dashboards && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error); then \
	  mkdir -p $(VENDOR) \
	  && cp dashboards/node_modules/plotly.js-basic-dist-min/plotly-basic.min.js $(VENDOR)/ \
	  && cp dashboards/node_modules/plotly.js-basic-dist-min/LICENSE $(VENDOR)/plotly-basic.LICENSE \
	  && touch $@; \
	else \
	  echo "without npm: pages carry the whole plotly.js, 1.5 MB instead of 0.4 on the wire"; \
	fi

# Debian keeps the venv module in a package of its own.
$(TOOLS)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "techport needs Python 3.11 or newer: try make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; } \
	  || { echo "install the package python3-venv (apt-get install python3-venv), then run make again"; exit 1; }
	@echo "first run: making the environment, a minute or so"
	@$(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/pip install --quiet uv==$(UV_VERSION)

# The tests talk to real servers. Without them a user's tests are skipped, each with its reason; in CI they fail.
# R comes without the compilers and packages that it recommends: that is what a name with a - behind it means.
system-packages:
	@missing=""; \
	command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing="$$missing mosquitto"; \
	command -v mosquitto_sub >/dev/null || missing="$$missing mosquitto-clients"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$$missing nginx-light"; \
	command -v Rscript >/dev/null || missing="$$missing r-base-core r-base-dev- r-recommended- r-doc-html-"; \
	ls /usr/lib/R/*/jsonlite >/dev/null 2>&1 || missing="$$missing r-cran-jsonlite r-cran-testthat- r-cran-sp-"; \
	command -v ogrinfo >/dev/null || missing="$$missing gdal-bin"; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing$$missing for the tests"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	elif [ -n "$$missing" ]; then \
	  echo "Some tests will be skipped. To run them, install as root: apt-get install$$missing"; \
	fi

pin-images: ## adds to the images of docker-compose.yml and the Dockerfile the digests of today; needs a container engine
	@deploy/pin-images

audit: $(UV) ## the list of everything techport is made of (artefacts/sbom.json, CycloneDX), and its known vulnerabilities
	@$(SYNC) --group audit --inexact
	@mkdir -p artefacts
	@$(UV) export --quiet --frozen --no-dev --no-emit-project --output-file artefacts/requirements.txt >/dev/null
	@PATH="$(RUN):$$PATH" deploy/audit artefacts

clean:
	rm -rf .venv $(TOOLS) $(VENDOR) dashboards/node_modules dist artefacts .mypy_cache .ruff_cache .pytest_cache .hypothesis
