# Every target makes its own set-up: a virtual environment in .venv, with uv when there is one, else venv and pip.
# The versions are those of constraints.txt.

BIN := .venv/bin
SOURCES := quant_assets resources quant_assets_tests benchmarks deploy examples setup.py
# Dagster's databases wait for the disk at every event: where memory has a gigabyte to spare, tests keep their folders there.
MEMORY := $(shell [ "$$(df -m --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 1000 ] 2>/dev/null && echo /dev/shm)

# Kept even where the environment says otherwise: else each worker and each process of the tests compiles everything.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help celery-test demo demo-gcs ui serve test collect browser redis screenshots lint types check bench bench-api bench-scale kill-test simulate-year simulate-listings lies postgres-test bench-instance determinism new-symbols two-daemons new-universe jobs-on-daemon bench-migrate bench-gcs gcs-faults mutants api-fuzz engines constraints export-test metrics-test old-stores drills clean

help:  ## Lists the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.venv/.demo: pyproject.toml setup.py setup.cfg constraints.txt scripts/bootstrap.sh
	sh scripts/bootstrap.sh demo

.venv/.dev: pyproject.toml setup.py setup.cfg constraints.txt scripts/bootstrap.sh
	sh scripts/bootstrap.sh dev

demo: .venv/.demo  ## The main job, offline: prices from a replay server into cells, history, weeks and profiles.
	$(BIN)/quant-assets demo

demo-gcs: .venv/.dev  ## The demo with its tables on a Google Cloud Storage emulator, compared with the local run.
	$(BIN)/quant-assets demo-gcs $(if $(BUCKET),--bucket $(BUCKET))

ui: .venv/.demo  ## Opens Dagster on the demo's data, with the replay server beside it.
	$(BIN)/quant-assets ui --demo

serve: .venv/.demo  ## The page with charts, and the API, on the demo's data: http://127.0.0.1:8000.
	$(BIN)/quant-assets serve --demo

# Three workers, one of them mostly waiting, share two cores (four and six took longer): more threads only take turns.
test: .venv/.dev browser redis  ## All tests, with the branch coverage of market/ and resources/ by the tests of pure code.
	@export POLARS_MAX_THREADS=1; \
	$(if $(MEMORY),export PYTEST_DEBUG_TEMPROOT=$$(mktemp -d $(MEMORY)/tests-XXXXXX); \
	trap 'rm -rf "$$PYTEST_DEBUG_TEMPROOT"' EXIT INT TERM;) \
	$(BIN)/python -m pytest quant_assets_tests -n 3 --dist loadfile --no-loadscope-reorder --durations=15 \
		--cov --cov-tests=market/,resources/,defs/alerts/,api/,test_doctor.py,test_reader_http.py --cov-report=term:skip-covered --cov-fail-under=95

# Compiling every assert takes a quarter of a minute, which else each of the workers spends. What fails here fails in
# `test` as well, and there with its reason.
collect: .venv/.dev  ## Imports every test file once, so that the workers of `make test` find them compiled.
	@$(BIN)/python -m pytest quant_assets_tests --collect-only -qqq > /dev/null || true

browser:  ## Installs Chromium for the browser test, where that is possible.
	@sh scripts/install_browser.sh

redis: | browser  ## Installs Redis for the tests of the cache, where that is possible (after what else is installed).
	@sh scripts/install_redis.sh

screenshots: .venv/.dev browser  ## Dagster's pages and the API's own, as pictures in artifacts/ (three minutes).
	$(BIN)/python -m pytest -q quant_assets_tests/e2e/test_browser.py quant_assets_tests/e2e/test_page.py
	@ls artifacts/*.png

lint: .venv/.dev  ## Style, and the directions in which packages may import each other.
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/lint-imports

types: .venv/.dev  ## Types: strict on market, catalog, tables and resources.
	$(BIN)/pyright

check: .venv/.dev  ## The Dagster code location loads, as `dagster` and as `dg` find it.
	$(BIN)/dagster definitions validate -w workspace.yaml
	$(BIN)/dg check defs

bench: .venv/.dev  ## Where the time of a large backfill goes (several minutes).
	$(BIN)/python -m benchmarks.backfill

bench-scale: .venv/.dev  ## Reads, derived tables and fills at full size beside their limits (hours; SMALL=1: minutes; ONLY=work STORE=folder).
	@[ -e .venv/.bench ] || { sh scripts/bootstrap.sh bench && touch .venv/.bench; } || echo "without ArcticDB and DuckDB"
	$(BIN)/python -m benchmarks.scale $(if $(SMALL),--symbols 1000 --years 10) $(if $(ONLY),--only $(ONLY)) \
		$(if $(STORE),--store $(STORE))

bench-api: .venv/.dev redis  ## The API under 1,000 connections: cached and not, Redis and the bucket gone (20 minutes; FOLDER=… keeps the stores).
	$(BIN)/python -m benchmarks.api $(if $(SMALL),--symbols 200 --years 5 --connections 200 --seconds 5 --fill 15 --outage 20) \
		$(if $(ONLY),--only $(ONLY)) $(if $(FOLDER),--folder $(FOLDER))

kill-test: .venv/.dev  ## Kills a backfill at random moments, 50 times, and compares with an undisturbed run.
	$(BIN)/python -m benchmarks.kill_backfill

simulate-year: .venv/.dev  ## A year lived day by day under faults, splits and corrections, against the truth (SEED=n, LIES=1).
	$(BIN)/python -m benchmarks.simulated_year --seed $(or $(SEED),1) $(if $(LIES),--lies)

simulate-listings: .venv/.dev  ## Five years of listings, delistings, renames, suspensions and reuse, against the truth (SEED=n YEARS=n SYMBOLS=n).
	$(BIN)/python -m benchmarks.simulated_listings --seed $(or $(SEED),1) --years $(or $(YEARS),5) --symbols $(or $(SYMBOLS),40)

postgres-test: .venv/.dev  ## Dagster's instance in a real PostgreSQL: filled, pruned, restarted, lost and rebuilt.
	$(BIN)/python -W ignore -m benchmarks.postgres_instance

bench-instance: .venv/.dev  ## What cells cost in Dagster's instance, and what pruning gives back (CELLS=n).
	$(BIN)/python -W ignore -m benchmarks.instance_growth $(or $(CELLS),100000)

lies: .venv/.dev  ## A source that lies and stops: what is stored of it, every evening and after (SEED=n, KIND=…).
	$(BIN)/python -m benchmarks.lies --seed $(or $(SEED),1) $(if $(KIND),--kind $(KIND))

determinism: .venv/.dev  ## Derived tables made 1,000 times with 1, 2 and 8 threads, compared to the bit (RUNS=n).
	$(BIN)/python -m benchmarks.determinism --runs $(or $(RUNS),1000)

new-symbols: .venv/.dev  ## 300 new symbols on a two-year grid, left to the real daemon: how many runs it takes (SYMBOLS=n YEARS=n).
	$(BIN)/python -m benchmarks.new_symbols --symbols $(or $(SYMBOLS),300) --years $(or $(YEARS),2)

jobs-on-daemon: .venv/.dev  ## Jobs asked of the API on the real daemon: every status, cancelling, a killed API.
	$(BIN)/python -m benchmarks.jobs_on_daemon

two-daemons: .venv/.dev  ## Two daemons on one instance by mistake, one of them killed later: what is run and asked for.
	$(BIN)/python -W ignore -m benchmarks.two_daemons

new-universe: .venv/.dev  ## 3,000 symbols enabled on a running instance whose daemon is killed twice (SYMBOLS=n YEARS=n KILLS=n PACE=n).
	$(BIN)/python -m benchmarks.new_universe --symbols $(or $(SYMBOLS),3000) --years $(or $(YEARS),2) \
		--kills $(or $(KILLS),2) --pace $(or $(PACE),20)

bench-migrate: .venv/.dev  ## Moves a store of 10,000 objects, killed three times on the way (ten minutes).
	$(BIN)/python -m benchmarks.migrate

bench-gcs: .venv/.dev  ## Reads and a daily update with 30 ms added to every request to the storage emulator.
	$(BIN)/python -m benchmarks.gcs_latency

gcs-faults: .venv/.dev  ## 64 writers, a bad network and 100 kills on the storage emulator (many minutes).
	$(BIN)/python -m benchmarks.gcs_faults

mutants: .venv/.dev  ## How strong the tests are: SAMPLE small changes, each of which a test should notice (hours).
	$(BIN)/python -m benchmarks.mutants --sample $(or $(SAMPLE),500) --seed $(or $(SEED),1)

api-fuzz: .venv/.dev  ## 10,000 questions made from the API's OpenAPI document, with keys and without (CASES=n SEED=n).
	$(BIN)/python -W ignore -m benchmarks.api_fuzz --cases $(or $(CASES),10000) --seed $(or $(SEED),1)

# qlib and zipline pin more than a hundred packages: they live in an environment of their own.
.venv-export/.done: constraints-export.txt
	$(or $(PYTHON),python3) -m venv .venv-export
	.venv-export/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-export.txt \
		pyqlib zipline-reloaded
	@touch $@

export-test: .venv/.dev .venv-export/.done  ## Opens exports with the real qlib and zipline (their own environment, 1 GB).
	$(BIN)/python -m pytest -q quant_assets_tests/export

engines: .venv/.dev  ## Weekly bars and total returns by DuckDB and Spark on our tables, compared with ours (SYMBOLS=n YEARS=n).
	@command -v java > /dev/null || sh scripts/install_java.sh
	@[ -e .venv-spark/bin/spark-submit ] || { python3 -m venv .venv-spark && .venv-spark/bin/pip install -q "pyspark==4.*"; }
	$(BIN)/python -m benchmarks.engines --symbols $(or $(SYMBOLS),1000) --years $(or $(YEARS),10) \
		$$(command -v java > /dev/null && echo --spark .venv-spark/bin/python)

# The extras qlib and zipline are left out: see constraints-export.txt.
# The image's file system is kept in IMAGE (2 GB). Where no registry of images is reached its base is made of Debian's packages.
IMAGE := $(or $(WORK),/var/tmp/quant-assets-image)
image-test:  ## Builds the image with buildah, measures it, and runs the demo in it: nobody's user, read-only, no network (root).
	BASE=debian $(if $(SSL_CERT_FILE),CA_FILE=$(SSL_CERT_FILE)) sh deploy/containers/build.sh $(IMAGE)
	test $$(du -sm $(IMAGE)/rootfs | cut -f1) -lt 900
	NETWORK=none sh deploy/containers/run.sh $(IMAGE) quant-assets demo

compose-test: .venv/.dev  ## The compose file's services as processes on Debian's PostgreSQL, Redis and Prometheus, and a job through all of them (root).
	$(BIN)/python -m benchmarks.compose_services

celery-test: .venv/.dev  ## The compose file with two workers, on PostgreSQL and Redis: one is killed within a backfill (root; ten minutes; BUCKET=1, SYMBOLS=n).
	$(BIN)/python -W ignore -m benchmarks.celery_workers $(if $(BUCKET),--bucket) --symbols $(or $(SYMBOLS),40)

metrics-test: .venv/.dev redis  ## Debian's Prometheus scrapes a live run, a killed one and a store that is away; every query of the dashboards.
	$(BIN)/python -m benchmarks.metrics_live

old-stores: .venv/.dev  ## A store that an earlier release has filled: read, upgraded (killed on the way), refused by that release (RELEASE=commit).
	$(BIN)/python -m benchmarks.old_releases $(if $(RELEASE),--release $(RELEASE))

drills: .venv/.dev  ## Every entry of docs/runbook.md tried again, by the tests and scripts that it names (ONLY=words, TESTS=1).
	$(BIN)/python -m benchmarks.drills $(if $(ONLY),--only "$(ONLY)") $(if $(TESTS),--tests)

cloud-run-limits: .venv/.dev  ## The daily job of ten symbols under one CPU and a hard limit of 512 MB: peak and seconds (root).
	$(BIN)/python -m benchmarks.cloud_run_limits

deploy-check: .venv/.dev  ## Deployment files against hadolint, checkov, Helm and the schemas of Kubernetes (tools kept in the cache).
	sh deploy/checks/check.sh

constraints: .venv/.dev  ## Renews constraints.txt (needs uv).
	uv pip compile -q --no-emit-index-url --no-header --no-annotate --extra demo --extra bench --extra dev --extra container \
		--extra duckdb pyproject.toml -o constraints.txt --upgrade

clean:  ## Removes the virtual environment and everything the demo wrote.
	rm -rf .venv .venv-export .venv-spark .quant-assets artifacts
