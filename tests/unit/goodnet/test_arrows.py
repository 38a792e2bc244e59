# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages of GoodNet: imports between them go one way."""

from __future__ import annotations

import graphlib
import importlib
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from support.imports import imports

ROOT = Path(__file__).resolve().parents[3]
PROJECT = ROOT / "src" / "goodnet"
PACKAGE = PROJECT / "goodnet"
# What each package, and each module that stands beside them, may import besides itself. `common` are the modules that
# all others may use.
COMMON = {"files", "model", "errors"}
ARROWS = {
    "common": set(),
    "config": {"common"},
    "metrics": set(),
    "host": {"common"},
    "ovs": {"common"},
    "cluster": {"common"},
    "cni": {"common", "host", "ovs"},
    "diagnostics": {"common", "config", "ovs", "cluster"},
    "duties": {"config", "metrics", "host", "cluster"},
    "agent": {"common", "config", "metrics", "host", "ovs", "cluster", "cni", "diagnostics", "duties"},
    "ctl": {"common", "host", "ovs", "cni", "diagnostics"},
}


def room(name: str) -> str | None:
    """Return the entry of the table that a module belongs to, None for those of others."""
    first, *parts = name.split(".")
    if first != "goodnet" or not parts:
        return None
    return "common" if parts[0] in COMMON else parts[0]


def arrows(package: Path) -> set[tuple[str, str]]:
    """Return which room imports which other one."""
    found = set()
    for path in package.rglob("*.py"):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        start = room(name.removesuffix(".__init__"))
        ends = {room(end) for end in imports(path.read_text("utf-8"), name.rpartition(".")[0])}
        found |= {(start, end) for end in ends if start and end and start != end}
    return found


def wrong(package: Path) -> set[tuple[str, str]]:
    return {(start, end) for start, end in arrows(package) if end not in ARROWS[start]}


def test_imports_go_one_way() -> None:
    assert wrong(PACKAGE) == set()


def test_the_table_has_every_room_and_no_circle() -> None:
    assert {name for arrow in arrows(PACKAGE) for name in arrow} == set(ARROWS)
    graphlib.TopologicalSorter(ARROWS).prepare()


@pytest.mark.parametrize(
    ("file", "line", "arrow"),
    [
        ("model.py", "from goodnet.config import Settings", ("common", "config")),
        ("host/nft.py", "from goodnet.cluster import client", ("host", "cluster")),
        ("host/nft.py", "from ..ovs import flows", ("host", "ovs")),
        ("ovs/flows.py", "def late():\n    import goodnet.cluster.state", ("ovs", "cluster")),
        ("cluster/state.py", "from goodnet import agent", ("cluster", "agent")),
        ("cni/plugin.py", "from goodnet.cluster.client import Api", ("cni", "cluster")),
        ("duties.py", "from goodnet.agent import Agent", ("duties", "agent")),
        ("diagnostics/__init__.py", "from goodnet.ctl import main", ("diagnostics", "ctl")),
    ],
)
def test_an_import_the_other_way_is_found(tmp_path: Path, file: str, line: str, arrow: tuple[str, str]) -> None:
    copy = tmp_path / "goodnet"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / file).open("a", encoding="utf-8") as stream:
        stream.write(f"\n\n{line}\n")
    assert wrong(copy) == {arrow}


def test_the_project_names_its_packages_and_programs() -> None:
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    found = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    packages = {".".join(path.parent.relative_to(PROJECT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert set(found["tool"]["setuptools"]["packages"]) == packages
    for program in found["project"]["scripts"].values():
        module, _separator, function = program.partition(":")
        text = PROJECT.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8")
        assert f"\ndef {function}(" in text, program
    assert found["project"]["version"] == yaml.safe_load((ROOT / "galaxy.yml").read_text("utf-8"))["version"]
