# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of builds, which a tenant may have written, and the app that one of them runs as."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from support.sources import OFFERED, tree

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import builds
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.builds import Build
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.cache import Key
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.detect import detect
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.plan import Plan
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import built, parse

REGISTRY = "registry.cloudbang.internal:5000"
DIGEST = "sha256:" + "a" * 64
PLAN = detect(tree({"main.go": "package main", "go.mod": "module shop\ngo 1.24\n"}), OFFERED)
BUILD = Build(
    app="shop",
    tenant="acme",
    number=3,
    key=Key((("source", "5a17"), ("plan", PLAN.digest))),
    plan=PLAN,
    image=f"{REGISTRY}/acme/shop@{DIGEST}",
    source="https://x.org/shop main",
    commit="a" * 40,
    created="2026-01-01T00:00:00Z",
    by="ann@c",
    seconds=12,
    log=("one", "two"),
)


def kept(**change: Any) -> dict[str, Any]:
    """Return the record of BUILD with changes to what it keeps."""
    entry = builds.record(BUILD)
    content = {**json.loads(entry["data"]["build"]), **change}
    entry["data"]["build"] = json.dumps(content)
    return entry


def test_a_record_is_read_as_it_was_written() -> None:
    entry = builds.record(BUILD)
    assert entry["immutable"] and entry["metadata"]["name"] == "shop-build-3"
    assert builds.read(entry, REGISTRY) == BUILD
    assert builds.read(entry, None) == BUILD


def test_a_long_log_is_cut() -> None:
    entry = builds.record(replace(BUILD, log=tuple(f"{number} " + "x" * 1000 for number in range(1000))))
    found = builds.read(entry, REGISTRY)
    assert found is not None and len(found.log) == builds.LOG_LINES and found.log[-1].startswith("999 ")
    assert max(map(len, found.log)) == builds.LOG_LINE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": f"{REGISTRY}/blue/shop@{DIGEST}"}, f"wanted {REGISTRY}/acme/shop@sha256:DIGEST"),
        ({"image": f"{REGISTRY}/acme/shop:build-3"}, "wanted"),
        ({"image": f"{REGISTRY}/acme/shop:x@{DIGEST}"}, "wanted"),
        ({"image": f"evil.example.org/acme/shop@{DIGEST}"}, "wanted"),
        ({"image": f"{REGISTRY}/acme/shop@sha256:1"}, "wanted"),
        ({"image": ["x"]}, "image: found"),
        ({"number": 4}, "found build 4 of app shop, wanted it in shop-build-4"),
        ({"number": 0}, "number: found 0"),
        ({"app": "other"}, "found build 3 of app other, wanted it in other-build-3"),
        ({"app": "../x"}, "app: found"),
        ({"plan": {}}, "plan"),
        ({"plan": {**PLAN.stored(), "port": 0}}, "plan.port"),
        ({"plan": {**PLAN.stored(), "port": 81}}, "plan.digest"),
        ({"key": []}, "key: found 0 entries"),
        ({"commit": "$(id)"}, "commit: found"),
        ({"seconds": -1}, "seconds: found -1"),
        ({"log": "x"}, "log: found"),
    ],
)
def test_a_forged_record_is_ignored_with_a_warning_that_names_it(change: dict[str, Any], message: str) -> None:
    told: list[str] = []
    assert builds.read(kept(**change), REGISTRY, told.append) is None
    assert len(told) == 1 and told[0].startswith("ConfigMap acme/shop-build-3: ") and message in told[0]
    assert told[0].endswith("; it is not used")


@pytest.mark.parametrize("data", [None, {}, {"build": 3}, {"build": "{"}, {"build": "[]"}, {"build": "[" * 10000}])
def test_no_record(data: Any) -> None:
    told: list[str] = []
    assert builds.read({**builds.record(BUILD), "data": data}, REGISTRY, told.append) is None and len(told) == 1


def test_numbers_of_records_that_cannot_be_read_are_taken() -> None:
    names = ["shop-build-2", "shop-build-9", "shop-build-010", "shop-build-x", "a-shop-build-20", "shop"]
    assert builds.next_number(names, "shop") == 10 and builds.next_number([], "shop") == 1


def test_the_same_key_is_the_same_build() -> None:
    older, newer = replace(BUILD, number=1), replace(BUILD, number=2)
    assert builds.same([older, newer], BUILD.key) == newer
    assert builds.same([older], Key((("source", "other"),))) is None


@pytest.mark.parametrize(("keep", "used", "gone"), [(2, (), [1, 2]), (2, (1,), [2]), (9, (), []), (1, (2, 3), [1])])
def test_builds_that_releases_use_stay(keep: int, used: tuple[int, ...], gone: list[int]) -> None:
    history = [replace(BUILD, number=number, image=f"x@{number}") for number in (1, 2, 3, 4)]
    found = builds.expired(history, keep, {f"x@{number}" for number in used})
    assert [build.number for build in found] == gone


# The app of a build


def app(plan: Plan = PLAN, **options: Any) -> Any:
    [wanted] = parse("app", {"name": "shop", "tenant": "acme", "build": 3, **options}).apps
    return built(wanted, BUILD.image, plan)


def processes(plan: Plan = PLAN, **options: Any) -> dict[str, tuple[Any, Any, list[int]]]:
    return {
        one.name: (one.command, one.args, [port.port for port in one.ports]) for one in app(plan, **options).processes
    }


FILES = {"main.go": "package main", "go.mod": "module shop\ngo 1.24\n", "Procfile": "web: ./shop\nworker: ./work $X\n"}
SEVERAL = detect(tree({**FILES, "Procfile": FILES["Procfile"] + "release: ./migrate\n"}), OFFERED)
OWN = detect(tree({"Dockerfile": "FROM scratch\nEXPOSE 3000\nUSER 1\n"}), OFFERED)
OWN_PROCFILE = detect(tree({"Dockerfile": "FROM scratch\nUSER 1\n", "Procfile": "web: serve"}), OFFERED)


def test_an_app_has_image_and_processes_of_its_build() -> None:
    assert app().image == BUILD.image and app().build is None
    assert list(processes()) == ["web"] and processes()["web"][2] == [8080]
    found = processes(SEVERAL)
    assert found == {
        "web": (None, ("./shop",), [8080]),
        "worker": (None, ("/bin/sh", "-c", "./work $X"), []),
    }


def test_what_the_task_says_wins() -> None:
    given = [{"name": "web", "replicas": 3, "ports": [9000], "command": ["/x"]}]
    assert processes(SEVERAL, processes=given) == {"web": (("/x",), None, [9000])}
    assert processes(SEVERAL, processes=[{"name": "web", "replicas": 3}]) == {"web": (None, ("./shop",), [8080])}
    found = app(SEVERAL, processes=[{"name": "web", "replicas": 3}, {"name": "cli", "command": "x"}])
    assert found.replicas == {"web": 3, "cli": 1}


def test_an_image_of_an_author_has_its_own_command_and_port() -> None:
    assert processes(OWN) == {"web": (None, None, [3000])} and app(OWN).env == {"PORT": "3000"}
    assert app(OWN, env={"PORT": "1"}).env == {"PORT": "1"}
    assert app(OWN, secret_env={"PORT": "1"}).env == {}
    assert processes(OWN_PROCFILE) == {"web": (("serve",), None, [8080])}
    assert app().env == {}


@pytest.mark.parametrize("kind", ["worker", "stateful"])
def test_other_types_have_the_processes_too(kind: str) -> None:
    assert list(processes(SEVERAL, type=kind)) == ["web", "worker"]


def test_a_job_runs_what_the_task_says() -> None:
    assert processes(SEVERAL, type="job") == {"job": (None, None, [])}
    assert processes(SEVERAL, type="job", processes=[{"name": "release"}]) == {"release": (None, None, [])}


def test_what_does_not_fit_names_the_app() -> None:
    wanted = parse("app", {"tenant": "acme", "apps": [{"name": "a", "build": 3}]}).apps[0]
    only_worker = replace(SEVERAL, processes=tuple(one for one in SEVERAL.processes if one.name == "worker"))
    several = replace(only_worker, processes=(*only_worker.processes, replace(only_worker.processes[0], name="b")))
    with pytest.raises(Invalid, match=r"apps\[0\].processes: found .*a process with a TCP port"):
        built(wanted, BUILD.image, several)


def test_options_stay_as_they_were() -> None:
    given = {"name": "shop", "tenant": "acme", "build": 3, "processes": [{"name": "web"}], "env": {"A": "1"}}
    before = copy.deepcopy(given)
    [wanted] = parse("app", given).apps
    built(wanted, BUILD.image, OWN)
    assert given == before and wanted.build.options["env"] == {"A": "1"}
