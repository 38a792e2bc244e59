# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cache keys: the same as long as nothing changes what they are of, and another one as soon as something does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.sources import LINK, OFFERED, bases, cases, tree

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import cache
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.cache import Key
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.detect import detect
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.plan import Plan
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.settings import Options, task_options
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.tree import File, Tree
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.versions import Offered

FILES = {
    "requirements.txt": "flask==3.1.0\n-r more/extra.txt\n",
    "more/extra.txt": "redis==5.0.0\n",
    "main.py": "import flask\napp = flask.Flask(__name__)\n",
    "package.json": '{"scripts": {"build": "vite build"}, "devDependencies": {"vite": "6"}}',
    "package-lock.json": '{"packages": {"": {"devDependencies": {"vite": "6"}}}}',
}
ARM = "arm64"
# By language, the file of its sample whose change is one of the source alone.
SOURCES = {
    "bun": ("bunfig_and_version", "index.ts"),
    "deno": ("package_beside_it", "main.ts"),
    "dotnet": ("web", "Program.cs"),
    "go": ("module", "main.go"),
    "node": ("npm", "server.js"),
    "php": ("packages", "public/index.php"),
    "python": ("pip_flask", "shop.py"),
    "ruby": ("sinatra", "config.ru"),
    "rust": ("binary", "src/main.rs"),
    "spa": ("vite_react", "index.html"),
}


def planned(files: dict[str, Any], **options: Any) -> Plan:
    return detect(tree(files), OFFERED, Options(**options))


def keys(files: dict[str, Any], plan: Plan | None = None, **given: Any) -> tuple[Key, Key]:
    """Return the keys of the dependencies and of the assets."""
    made = plan or planned(files)
    images = given.pop("bases", bases(made))
    arguments = {"architecture": "amd64", **given}
    source = tree(files)
    return cache.dependencies(source, made, images, **arguments), cache.assets(source, made, images, **arguments)


def test_the_keys_of_a_plan() -> None:
    found, assets = keys(FILES, credentials=["pip", "npm"])
    assert [name for name, _value in found.parts] == [
        "toolchain",
        "more/extra.txt",
        "requirements.txt",
        "commands",
        "architecture",
        "credentials",
        "format",
        "apt",
    ]
    values = dict(found.parts)
    assert values["toolchain"] == "0" * 64 and values["credentials"] == "npm pip" and values["apt"] == ""
    assert str(found).startswith(f"{found.digest[:12]} = toolchain 000000000000 + more/extra.txt ")
    assert str(found).endswith(" + architecture amd64 + credentials npm pip + format 1 + apt (none)")
    assert [name for name, _value in assets.parts][:3] == ["toolchain", "package-lock.json", "package.json"]
    assert found.digest == keys(dict(reversed(list(FILES.items()))), credentials=["npm", "pip", "npm"])[0].digest


@pytest.mark.parametrize(
    ("changes", "dependencies", "assets"),
    [
        ({"main.py": "import flask\n\napp = flask.Flask(__name__)\n"}, (), ()),
        ({"README.md": "new"}, (), ()),
        ({"requirements.txt": FILES["requirements.txt"] + "#"}, ("requirements.txt",), ()),
        ({"more/extra.txt": "redis==5.1.0"}, ("more/extra.txt",), ()),
        ({"package.json": FILES["package.json"] + " "}, (), ("package.json",)),
        ({".npmrc": "registry=https://npm.example.org/"}, (), (".npmrc",)),
        ({"requirements.txt": "flask==3.1.0\n"}, ("more/extra.txt", "requirements.txt"), ()),
        ({"requirements.txt": FILES["requirements.txt"] + "psycopg2==2.9\n"}, ("apt", "requirements.txt"), ()),
    ],
)
def test_what_a_change_of_the_source_changes(
    changes: dict[str, str], dependencies: tuple[str, ...], assets: tuple[str, ...]
) -> None:
    before, after = keys(FILES), keys({**FILES, **changes})
    assert tuple(one.changed(two) for one, two in zip(before, after)) == (dependencies, assets)
    assert tuple(one.changed(two) for one, two in zip(after, before)) == (dependencies, assets)
    assert [one.digest != two.digest for one, two in zip(before, after)] == [bool(dependencies), bool(assets)]


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({"architecture": ARM}, ("architecture",)),
        ({"credentials": ["pip"]}, ("credentials",)),
        ({"bases": dict.fromkeys(("build/python", "build/node"), f"base@sha256:{'1' * 64}")}, ("toolchain",)),
    ],
)
def test_what_else_changes_the_keys_of_layers(given: dict[str, Any], changed: tuple[str, ...]) -> None:
    assert [one.changed(two) for one, two in zip(keys(FILES), keys(FILES, **given))] == [changed, changed]


def test_the_commands_of_a_plan_change_its_key() -> None:
    plan = planned(FILES)
    step = plan.install[-1]
    for other in (replace(step, command=(*step.command, "--no-deps")), replace(step, directory="more")):
        changed = keys(FILES, replace(plan, install=(*plan.install[:-1], other)))[0]
        assert keys(FILES, plan)[0].changed(changed) == ("commands",)


def test_a_host_of_the_registry_is_no_part_of_a_key() -> None:
    plan = planned(FILES)
    moved = {name: image.replace("registry:5000", "other.example.org") for name, image in bases(plan).items()}
    assert keys(FILES, plan) == keys(FILES, plan, bases=moved)


def test_a_manifest_with_the_name_of_another_part_is_seen() -> None:
    before = {"requirements.txt": "-r apt\n", "apt": "flask==3.1.0", "main.py": ""}
    assert keys(before)[0].changed(keys({**before, "apt": "flask==3.1.1"})[0]) == ("apt",)
    other = keys(before, replace(planned(before), apt_build=("gcc",)))[0]
    assert keys(before)[0].changed(other) == ("apt",)


def test_a_plan_without_layers_has_empty_keys() -> None:
    plan = planned({"Dockerfile": "FROM scratch\nUSER 1\n"})
    assert keys({"Dockerfile": ""}, plan) == (Key(()), Key(()))
    assert dict(cache.incremental("shop", "main", plan, {}).parts)["toolchain"] == ""


@pytest.mark.parametrize(("language", "name", "path"), [(one, *two) for one, two in SOURCES.items()])
def test_the_source_alone_changes_no_layer_of_dependencies(language: str, name: str, path: str) -> None:
    given = next(case.given for case in cases() if (case.language, case.name) == (language, name))
    offered = Offered(OFFERED.versions, OFFERED.defaults, frozenset(given.get("mirrors", ())))
    options = task_options(given.get("options"), given.get("processes"))
    files = given["files"]
    plan = detect(tree(files), offered, options)
    changed = {**files, path: files[path] + "\n", "docs/new.md": "new"}
    assert detect(tree(changed), offered, options) == plan
    assert plan.install and plan.manifests != ("./",)
    assert keys(files, plan) == keys(changed, plan)


def image(files: dict[str, Any], change: Callable[[Plan], Plan] = lambda plan: plan, **arguments: str) -> Key:
    plan = change(planned(files))
    return cache.image(tree(files), plan, bases(plan), arguments)


def test_the_key_of_an_image() -> None:
    found = image(FILES)
    assert [name for name, _value in found.parts] == [
        "source", "plan", "build/node", "build/python", "run/python", "arguments",
    ]  # fmt: skip
    assert found == image(dict(reversed(list(FILES.items()))))
    assert found.changed(image({**FILES, "main.py": FILES["main.py"] + "#"})) == ("source",)
    assert found.changed(image({**FILES, "README.md": {"link": "main.py"}})) == ("source",)
    assert found.changed(image(FILES, labels="x")) == ("arguments",)
    assert found.changed(image(FILES, lambda plan: replace(plan, apt_run=("git",)))) == ("plan",)
    # Another text about the same plan is the same image.
    assert found == image(FILES, lambda plan: replace(plan, reasons=("another",), warnings=()))
    plan = planned(FILES)
    newer = {**bases(plan), "run/python": f"base@sha256:{'1' * 64}"}
    assert found.changed(cache.image(tree(FILES), plan, newer, {})) == ("run/python",)


def test_the_digest_of_a_tree_has_modes_and_links_but_no_metadata_of_git() -> None:
    def digest(path: str, mode: int, text: str) -> str:
        return cache.content(Tree({path: File(len(text), mode)}, lambda path, limit: text.encode()))

    found = [digest("a", 0o100644, "x"), digest("a", 0o100755, "x"), digest("a", LINK, "x"), digest("b", 0o100644, "x")]
    assert len(set(found)) == 4
    assert cache.content(tree({"a": "x", ".git/HEAD": "y"})) == found[0]
    # Names and contents that run into each other are not the same tree.
    assert cache.content(tree({"a": "bc", "d": ""})) != cache.content(tree({"a": "b", "cd": ""}))


def test_directories_of_downloads() -> None:
    files = {"package.json": '{"scripts": {"start": "node x"}, "dependencies": {"a": "1"}}', "pnpm-lock.yaml": ""}
    assert cache.downloads(planned(files), "amd64") == "node-pnpm-10-amd64"
    assert cache.downloads(planned(FILES), ARM) == "python-pip-0-arm64"


def test_keys_of_bases_and_of_what_compilers_keep() -> None:
    packages = {"python3": "3.13.5-1", "gcc": "14.2"}
    found = cache.base(packages, "20261101T000000Z", {"python": "3.13"})
    assert found == cache.base(dict(reversed(list(packages.items()))), "20261101T000000Z", {"python": "3.13"})
    assert found.changed(cache.base({**packages, "gcc": "14.3"}, "20261101T000000Z", {"python": "3.13"})) == (
        "packages",
    )
    assert found.changed(cache.base(packages, "20261102T000000Z", {"python": "3.11"})) == ("python", "snapshot")
    plan = planned(FILES)
    mine, theirs = (cache.incremental("shop", branch, plan, bases(plan)) for branch in ("main", "\x1b[31m"))
    assert mine.changed(theirs) == ("branch",) and "\x1b" not in str(theirs)
