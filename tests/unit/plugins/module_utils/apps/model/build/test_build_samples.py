# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small applications of every language: each has the plan that its author expects, or ends with an error that helps."""

from __future__ import annotations

from typing import Any

import pytest
from support.sources import OFFERED, Case, bases, cases, parsed, tree

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.containerfile import containerfile
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.detect import detect
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.plan import Plan, read_plan
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.settings import task_options
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.versions import Offered
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid

CASES = cases()
SENTENCES = ("reasons", "warnings", "rejected")
KEYS = {"files", "options", "processes", "archive", "mirrors", "plan", "error", "containerfile"}


def plan_of(given: dict[str, Any]) -> Plan:
    options = task_options(given.get("options"), given.get("processes"), given.get("archive", False))
    offered = Offered(OFFERED.versions, OFFERED.defaults, frozenset(given.get("mirrors", ())))
    return detect(tree(given["files"]), offered, options)


def seen(plan: Plan) -> dict[str, Any]:
    """Return a plan in the form that fixtures expect: steps as lines, versions and processes by name."""
    stored = plan.stored()
    return {
        **stored,
        "versions": {version.name: version.value for version in plan.versions},
        "sources": {version.name: version.source for version in plan.versions},
        "processes": {process.name: process.command for process in plan.processes},
        "process_sources": {process.name: process.source for process in plan.processes},
        "install": [" ".join(step.command) for step in plan.install],
        "build": [" ".join(step.command) for step in plan.build],
        "outputs": {output.source: output.target for output in plan.outputs},
        "environment": dict(plan.environment),
        "assets": plan.assets and [" ".join(step.command) for step in (*plan.assets.install, *plan.assets.build)],
        "rejected": [f"{entry.language}: {entry.why}" for entry in plan.rejected],
        "main": plan.main and list(plan.main.argv),
    }


def missing(expected: Any, found: Any, place: str = "plan") -> list[str]:
    """Return where the plan is not as expected. Of lines of steps and of sentences, a part is enough."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            line
            for key, value in expected.items()
            for line in missing(value, found.get(key, "nothing"), f"{place}.{key}")
        ]
    if place.removeprefix("plan.") in (*SENTENCES, "install", "build", "assets") and expected:
        found = found or []
        return [f"{place}: {line!r} is not in {found}" for line in expected if not any(line in one for one in found)]
    return [] if expected == found else [f"{place}: found {found!r}, wanted {expected!r}"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language}-{case.name}")
def test_sample(case: Case) -> None:
    assert set(case.given) <= KEYS and ("plan" in case.given) != ("error" in case.given)
    if "error" in case.given:
        with pytest.raises(Invalid) as caught:
            plan_of(case.given)
        said = [str(finding) for finding in caught.value.findings]
        assert len(said) == len(case.given["error"]), said
        assert [line for line in case.given["error"] if not any(line in one for one in said)] == [], said
        return
    plan = plan_of(case.given)
    assert missing(case.given["plan"], seen(plan)) == []
    if "warnings" not in case.given["plan"]:
        assert plan.warnings == ()


@pytest.mark.parametrize(
    "case", [case for case in CASES if "plan" in case.given], ids=lambda case: f"{case.language}-{case.name}"
)
def test_a_plan_is_stored_and_becomes_a_containerfile(case: Case) -> None:
    plan = plan_of(case.given)
    assert read_plan(plan.stored()) == plan
    reversed_files = dict(reversed(list(case.given["files"].items())))
    assert plan_of({**case.given, "files": reversed_files}) == plan
    if plan.containerfile:
        return
    instructions = parsed(containerfile(plan, bases(plan), credentials=["netrc"]))
    for line in case.given.get("containerfile", ()):
        assert line in containerfile(plan, bases(plan)).split("\n")
    last = max(number for number, one in enumerate(instructions) if one.name == "FROM")
    assert [one.name for one in instructions[last:] if one.name == "RUN"] == []
    assert "USER" in [one.name for one in instructions[last:]]
    assert sum(bool(one.flags and "secret" in " ".join(one.flags)) for one in instructions) == sum(
        step.network for step in (*plan.install, *plan.build, *(plan.assets.install if plan.assets else ()))
    )


def test_every_language_has_samples() -> None:
    assert {case.language for case in CASES} >= {"python", "static"}
