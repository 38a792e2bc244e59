# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rooms of the collection's Python: imports between them go one way, and the model of apps loads no client."""

from __future__ import annotations

import graphlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.imports import imports

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
PREFIX = "ansible_collections.cloudbang.platform.plugins."
# What each room may import besides itself. `common` are the files that stand in module_utils itself.
ARROWS = {
    "common": set(),
    "kube": {"common"},
    "oci": {"common"},
    "host": {"common"},
    "apps.model": {"common", "kube", "oci"},
    "apps.actions": {"common", "kube", "oci", "apps.model"},
    "apps.runner": {"common", "kube", "apps.model", "apps.actions"},
    "plugin_utils": {"common", "kube", "apps.model"},
    "modules": {"common", "host", "apps.runner"},
    "action": {"common", "apps.model", "apps.runner", "plugin_utils"},
    "filter": {"apps.model"},
    "lookup": {"plugin_utils"},
}
CLIENT = PREFIX + "module_utils.kube.client"
MODEL = PREFIX + "module_utils.apps.model"
# Imports every module of the model; prints those that were asked for and must not be, which none may hide by catching
# the error.
LOADER = """
import importlib, json, pkgutil, sys

asked = []


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ansible", "kubernetes", "urllib3"):
            asked.append(name)
            raise ImportError(name + " is blocked")


sys.meta_path.insert(0, Blocked())
package = importlib.import_module(sys.argv[1])
names = [entry.name for entry in pkgutil.walk_packages(package.__path__, sys.argv[1] + ".")]
loaded = [importlib.import_module(name).__name__ for name in names]
print(json.dumps({"asked": asked, "loaded": loaded}))
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A copy of the plugins in which a test can break a rule, below the root of the import path."""
    copy = tmp_path.joinpath(*PREFIX.rstrip(".").split("."))
    shutil.copytree(PLUGINS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def room(module: str) -> str | None:
    """Return the room of a module of the collection, None for others and for the packages that only contain rooms."""
    if not module.startswith(PREFIX):
        return None
    kind, *parts = module.removeprefix(PREFIX).split(".")
    if kind != "module_utils":
        return kind
    if parts[:1] == ["apps"]:
        return ".".join(parts[:2]) if parts[1:] else None
    if not parts:
        return None
    return parts[0] if (PLUGINS / "module_utils" / parts[0]).is_dir() else "common"


def arrows(plugins: Path) -> dict[tuple[str, str], list[str]]:
    """Return which room imports which other one, and the files that do."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(plugins.rglob("*.py")):
        module = PREFIX + ".".join(path.relative_to(plugins).with_suffix("").parts)
        start = room(module.removesuffix(".__init__"))
        for name in imports(path.read_text("utf-8"), module.rpartition(".")[0]):
            end = room(name)
            if start and end and start != end:
                found.setdefault((start, end), []).append(str(path.relative_to(plugins)))
    return found


def wrong(plugins: Path) -> list[tuple[str, str]]:
    return sorted((start, end) for start, end in arrows(plugins) if end not in ARROWS[start])


def loaded(plugins: Path) -> dict[str, list[str]]:
    """Return what importing every module of the model asks for that it must not, and the modules that were imported."""
    root = plugins.parents[PREFIX.count(".") - 1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", LOADER, MODEL]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    answer: dict[str, list[str]] = json.loads(done.stdout)
    return answer


def test_imports_go_one_way() -> None:
    assert {arrow: files for arrow, files in arrows(PLUGINS).items() if arrow[1] not in ARROWS[arrow[0]]} == {}


def test_the_table_has_every_room_and_no_circle() -> None:
    found = {name for arrow in arrows(PLUGINS) for name in arrow}
    assert found == set(ARROWS)
    graphlib.TopologicalSorter(ARROWS).prepare()


@pytest.mark.parametrize(
    ("file", "line", "arrow"),
    [
        ("module_utils/kube/watch.py", f"from {MODEL}.labels import APP", ("kube", "apps.model")),
        ("module_utils/kube/watch.py", f"import {MODEL}.labels", ("kube", "apps.model")),
        ("module_utils/kube/watch.py", "from ..apps.model import labels", ("kube", "apps.model")),
        ("module_utils/kube/__init__.py", "from ..apps.model.labels import APP", ("kube", "apps.model")),
        ("module_utils/kube/watch.py", "def late():\n    from ..oci import layout", ("kube", "oci")),
        ("module_utils/oci/layout.py", f"from {CLIENT} import KubeError", ("oci", "kube")),
        ("module_utils/apps/model/plan.py", "from ..actions import deploy", ("apps.model", "apps.actions")),
        (
            "module_utils/apps/model/plan.py",
            f"from {PREFIX}module_utils.apps import runner",
            ("apps.model", "apps.runner"),
        ),
        ("module_utils/apps/actions/scale.py", "from ..runner import run", ("apps.actions", "apps.runner")),
        ("module_utils/texts.py", f"from {PREFIX}module_utils import kube", ("common", "kube")),
        ("module_utils/host/examine.py", f"from {PREFIX}plugin_utils import sending", ("host", "plugin_utils")),
        (
            "module_utils/apps/runner.py",
            f"from {PREFIX}plugin_utils.debian import rootfs",
            ("apps.runner", "plugin_utils"),
        ),
        ("modules/app.py", f"from {PREFIX}module_utils.apps.actions.deploy import run", ("modules", "apps.actions")),
    ],
)
def test_an_import_the_other_way_is_found(plugins: Path, file: str, line: str, arrow: tuple[str, str]) -> None:
    with (plugins / file).open("a", encoding="utf-8") as stream:
        stream.write(f"\n\n{line}\n")
    assert wrong(plugins) == [arrow]


def test_the_model_loads_no_client(plugins: Path) -> None:
    found = loaded(plugins)
    assert found["asked"] == []
    model = PLUGINS / "module_utils/apps/model"
    paths = [path.relative_to(model).with_suffix("") for path in model.rglob("*.py")]
    packages = {"." + ".".join(path.parts[:-1]) for path in paths if path.name == "__init__" and path.parts[1:]}
    modules = {"." + ".".join(path.parts) for path in paths if path.name != "__init__"}
    assert {MODEL + name for name in packages | modules} == set(found["loaded"])


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (f"from {CLIENT} import Kube", "kubernetes"),
        ("import contextlib\nwith contextlib.suppress(ImportError):\n    import urllib3.util", "urllib3"),
        ("try:\n    from ansible.module_utils.basic import AnsibleModule\nexcept ImportError:\n    pass", "ansible"),
    ],
)
def test_a_model_that_loads_a_client_is_found(plugins: Path, line: str, asked: str) -> None:
    with (plugins / "module_utils/apps/model/spec.py").open("a", encoding="utf-8") as stream:
        stream.write(f"\n\n{line}\n")
    assert asked in {name.partition(".")[0] for name in loaded(plugins)["asked"]}
