# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests, on a lab with the platform and the demo application.

`make e2e` prepares the lab. CLOUDBANG_LAB is the directory of its keys and kubeconfig, build/lab by default.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / "build" / "collections"
if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))

from .lab import Lab

# Tests that only read come before tests that break something.
ORDER = ["traffic", "cluster", "apps", "routes", "stacks", "tenants", "goodnet", "hardening", "walls_network"]
ORDER += ["idempotence", "bad_input", "secrets", "load", "failover", "add_node", "repair"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    found = Lab.load()
    if not found.kubeconfig.exists():
        pytest.fail(f"{found.kubeconfig} does not exist: run `make site` first", pytrace=False)
    found.healthy()
    yield found
