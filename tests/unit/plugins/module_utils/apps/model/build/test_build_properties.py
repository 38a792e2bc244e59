# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any tree, however its author has made it, has a plan or an error, and adds nothing to the Containerfile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.sources import OFFERED, bases, cases, parsed, tree

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.containerfile import containerfile
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.detect import ALL, detect
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.plan import (
    Assets,
    Output,
    Plan,
    Process,
    Step,
    read_plan,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.settings import Options
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible

CHECKS = list(HealthCheck)
CASES = [case.given for case in cases() if case.given["files"]]
PATHS = sorted({path for given in CASES for path in given["files"]})
WORDS = sorted(
    {
        word
        for given in CASES
        for content in given["files"].values()
        if isinstance(content, str)
        for word in content.split()
    }
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=8,
)
texts = (
    st.text(max_size=60)
    | st.binary(max_size=40)
    | st.lists(st.sampled_from(WORDS), max_size=12).map("\n".join)
    | values.map(json.dumps)
    | st.just({"link": "/etc/passwd"})
)
paths = st.sampled_from(PATHS) | st.text(st.characters(exclude_categories=[]), min_size=1, max_size=12)


def plan_of(files: dict[str, Any], **options: Any) -> Plan | None:
    try:
        return detect(tree(files), OFFERED, Options(**options))
    except Invalid as error:
        assert error.findings
        said = [str(finding) for finding in error.findings]
        assert [text for text in said if visible(text) != text or len(text) > 3000] == []
        return None


def mutated(data: Any, content: Any) -> Any:
    """Return a content of which a part is another."""
    if not isinstance(content, str) or data.draw(st.booleans()):
        return data.draw(texts)
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 20)))
    return content[:start] + data.draw(st.text(max_size=10) | st.sampled_from(WORDS)) + content[end:]


@settings(max_examples=300, deadline=None, suppress_health_check=CHECKS)
@given(st.data())
def test_every_tree_has_a_plan_or_an_error(data: Any) -> None:
    files = dict(data.draw(st.sampled_from(CASES))["files"])
    for path in data.draw(st.lists(st.sampled_from(sorted(files)) | paths, max_size=4)):
        files[path] = mutated(data, files.get(path, ""))
    for path in data.draw(st.lists(st.sampled_from(sorted(files)), max_size=2)):
        files.pop(path, None)
    language = data.draw(st.just("") | st.sampled_from(sorted(ALL)))
    plan = plan_of(files, language=language)
    if plan is None:
        return
    assert plan_of(dict(reversed(list(files.items()))), language=language) == plan
    assert read_plan(json.loads(json.dumps(plan.stored()))) == plan
    if not plan.containerfile:
        check(plan)


hostile = st.text(st.characters(exclude_categories=[]), max_size=20) | st.sampled_from(
    [
        "\nRUN evil",
        "a\\\n",
        "<<EOF",
        "$(evil)",
        "${HOME}",
        "`evil`",
        '"] && evil ["',
        "--mount=type=secret,id=netrc",
        "#",
        "\u2028RUN",
        "\x85RUN",
        "\r\nUSER 0",
        "\x00",
        "\udcff",
        "'",
        "../../etc",
        "/etc",
    ]
)
words = st.lists(hostile, min_size=1, max_size=4).map(tuple)
steps = st.lists(
    st.builds(Step, words, st.just(".") | hostile, st.booleans(), st.lists(hostile, max_size=1).map(tuple)), max_size=2
).map(tuple)
names = st.lists(hostile, max_size=2).map(tuple)
plans = st.builds(
    Plan,
    hostile,
    hostile,
    root=st.just(".") | hostile,
    subdir=st.just(".") | hostile,
    build_base=st.just("build/x"),
    run_base=st.just("run/x"),
    manifests=names,
    install=steps,
    build=steps,
    assets=st.none() | st.builds(Assets, st.just("build/node"), hostile, names, steps, steps),
    outputs=st.lists(st.builds(Output, hostile, hostile), max_size=1).map(tuple),
    environment=st.lists(st.tuples(st.just("NAME"), hostile), max_size=1).map(tuple),
    processes=st.lists(st.builds(Process, st.just("web"), hostile, hostile), max_size=1).map(tuple),
    apt_build=names,
    apt_run=names,
)


def expected(plan: Plan) -> list[str]:
    """Return the names of the instructions that a plan implies."""

    def manifests(paths: tuple[str, ...]) -> list[str]:
        places = {path if path.endswith("/") else path.rpartition("/")[0] for path in paths}
        return ["COPY"] * len(places)

    def run(steps: tuple[Step, ...]) -> list[str]:
        found, place = [], "."
        for step in steps:
            found += ["WORKDIR"] * (step.directory != place) + ["RUN"]
            place = step.directory
        return found + ["WORKDIR"] * (place != ".")

    found = []
    if plan.assets:
        found += ["FROM", "WORKDIR", *manifests(plan.assets.manifests), *run(plan.assets.install)]
        found += ["FROM", "COPY", *run(plan.assets.build)]
    found += ["FROM", "WORKDIR", *(["RUN"] if plan.apt_build else []), *manifests(plan.manifests), *run(plan.install)]
    found += ["FROM", "COPY", *run(plan.build)]
    found += ["FROM", "WORKDIR", *(["RUN"] if plan.apt_run else [])]
    found += ["FROM", *["COPY"] * len(plan.outputs)]
    found += ["WORKDIR", "ENV", "LABEL", "USER", "EXPOSE", "ENTRYPOINT"]
    return found + (["CMD"] if plan.main else [])


def check(plan: Plan) -> None:
    """Check that the Containerfile has the instructions of the plan, and its words as they are."""
    found = parsed(containerfile(plan, bases(plan), credentials=["netrc"]))
    assert [one.name for one in found] == expected(plan)
    every = (*plan.install, *plan.build, *((*plan.assets.install, *plan.assets.build) if plan.assets else ()))
    runs = [one.words for one in found if one.name == "RUN"]
    assert [step.command for step in every if step.command not in runs] == []
    known = {step.command for step in every}
    assert [run[:4] for run in runs if run not in known and run[3:4] != ("apt",)] == []
    assert [one.words for one in found if one.name == "CMD"] == ([plan.main.argv] if plan.main else [])
    flags = {flag for one in found for flag in one.flags}
    caches = {f"--mount=type=cache,target={path}" for step in every for path in step.caches}
    secrets = {"--mount=type=secret,id=netrc,target=/root/.netrc"} if any(step.network for step in every) else set()
    assert flags - {"--from=assets", "--from=build", "--chown=10001"} == caches | secrets
    assert [one.words for one in found if one.name == "USER"] == [("10001",)]


@settings(max_examples=400, deadline=None, suppress_health_check=CHECKS)
@given(plans)
def test_a_containerfile_has_the_instructions_of_its_plan(plan: Plan) -> None:
    try:
        containerfile(plan, bases(plan))
    except Invalid:
        return
    check(plan)


@pytest.mark.parametrize("word", ["\nRUN evil", "<<EOF", "a\\", "$HOME", "'; evil", "\u2028", "\x7f", "]"])
def test_hostile_words_stay_words(word: str) -> None:
    process = Process("web", f"run {json.dumps(word)}", "Procfile")
    check(Plan("x", "y", build_base="build/x", run_base="run/x", build=(Step((word, word)),), processes=(process,)))
