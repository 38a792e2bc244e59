# SPDX-License-Identifier: GPL-3.0-or-later
# Everything a developer or a newcomer calls. Each target can run at any time, over what a stopped run left behind.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BUILD := build
VENV := $(BUILD)/venv
COLLECTION := $(BUILD)/collections/ansible_collections/cloudbang/platform
LAB := inventories/lab
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Progress is seen as it happens, also in a file or a pipe.
export PYTHONUNBUFFERED := 1
export KUBECONFIG := $(CURDIR)/$(BUILD)/lab/admin.conf
PLAY := ansible-playbook -i $(LAB)
# Tests of one file build on each other.
PYTEST := pytest -q --dist loadfile --maxprocesses 4 --numprocesses
# Each process of the API tests has an API server of its own, and waits for it a third of the time.
API_PROCESSES := $(shell n=$$(nproc); echo $$((n < 4 ? n + 1 : 4)))

.PHONY: help setup demo test lab lab-down site lint unit api molecule e2e e2e-goodnet vm audit drills times bench changelog lock clean

help: ## Show what can be called
	@grep -hE '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready $(COLLECTION) ## Install system packages and the locked Python environment

$(VENV)/.ready: requirements.lock tests/setup.sh
	@tests/setup.sh $(VENV)

$(COLLECTION):
	@mkdir -p $(@D)
	@ln -sfn ../../../.. $@

demo: setup ## Boot the lab, install the platform, deploy an application and fetch a page from it
	@tests/phases.py demo

lab: setup ## Boot the lab
	@$(PLAY) cloudbang.platform.lab_up

lab-down: setup ## Remove the lab, keep the caches
	@$(PLAY) cloudbang.platform.lab_down

site: lab ## Install the platform on the lab, or bring it up to date
	@$(PLAY) cloudbang.platform.site

lint: setup ## Check style, types and the collection's rules
	@tests/lint.sh

unit: setup ## Run the unit tests
	@$(PYTEST) auto tests/unit

api: setup ## Run the application modules against a real API server
	@$(PYTEST) $(API_PROCESSES) tests/api

molecule: setup ## Run every role's scenario
	@tests/molecule.py

e2e: site ## Run the end-to-end tests on the lab
	@$(PLAY) cloudbang.platform.demo
	@pytest -v -m "not drill" $(filter-out %_load.py %_goodnet.py,$(wildcard tests/e2e/test_*.py)) # load: see `make bench`

e2e-goodnet: export CLOUDBANG_NETWORK := goodnet
e2e-goodnet: lab-down site ## Run the end-to-end tests that see the network on a lab with GoodNet, and remove it
	@$(PLAY) cloudbang.platform.demo
	@pytest -v -m "not drill" $(patsubst %,tests/e2e/test_%.py,cluster tenants goodnet hardening walls_network idempotence failover)
	@$(PLAY) cloudbang.platform.lab_down

vm: setup ## Install the platform on a virtual machine with a kernel of its own, test it and remove it, for each network
	@command -v qemu-system-x86_64 >/dev/null || apt-get install --yes --quiet --quiet --no-install-recommends qemu-system-x86 >/dev/null
	@pytest -v tests/vm

drills: site ## Run the long forms of tests that `make test` has short forms of, on the lab; then a lab with GoodNet
	@$(PLAY) cloudbang.platform.demo
	@pytest -v -m drill tests/e2e
	@$(MAKE) --no-print-directory e2e-goodnet

times: setup ## Show where the time of the last `make test` went
	@tests/times.py

audit: setup ## Look for known faults in what is installed; DATA=newest or a directory, LOCK=a site's lock file
	@PYTHONPATH=build/collections tests/audit.py --data "$(DATA)" --lock "$(LOCK)" --day "$(DAY)"

bench: setup ## Measure, mark what got worse since the last run, and write docs/benchmarks.md
	@PYTHONPATH=tests:build/collections tests/bench/bench.py

test: ## Run everything that can fail, fast checks first
	@tests/all.sh

changelog: setup ## Write what the fragments say into CHANGELOG.md, below the version of galaxy.yml
	@antsibull-changelog release --update-existing --refresh --reload-plugins

lock: setup ## Resolve requirements.in into requirements.lock
	@pip install --quiet uv
	@uv pip compile --universal --python-version 3.10 --generate-hashes --quiet requirements.in -o requirements.lock

clean: ## Remove what was built here, not the caches
	@rm -rf $(BUILD)
