# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees that are made to cost time, memory or layers end with a plan that is small, or with an error that says why."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from support.sources import OFFERED, bases, tree

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import python_start
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import tree as trees
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.containerfile import containerfile
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.detect import detect
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.plan import Plan, read_plan
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.settings import Options
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid

WORKSPACE = json.dumps({"workspaces": ["apps/*"], "scripts": {"start": "node x"}, "dependencies": {"a": "1"}})
FLASK = {"requirements.txt": "flask==3.1.0\ngunicorn==23.0.0\n"}


def planned(files: dict[str, Any], **options: Any) -> Plan:
    plan = detect(tree(files), OFFERED, Options(**options))
    assert read_plan(plan.stored()) == plan
    return plan


def refusal(files: dict[str, Any]) -> str:
    with pytest.raises(Invalid) as caught:
        planned(files)
    return "; ".join(map(str, caught.value.findings))


def packages(count: int) -> dict[str, str]:
    return {f"apps/{number}/package.json": "{}" for number in range(count)}


def test_manifests_of_many_directories_are_the_whole_source() -> None:
    few, many = (planned({"package.json": WORKSPACE, **packages(count)}) for count in (59, 60))
    said = "61 directories have manifests: every change of the source installs the dependencies again"
    assert len(few.manifests) == 60 and said not in few.warnings
    assert many.manifests == ("./",) and said in many.warnings
    text = containerfile(many, bases(many))
    assert [line for line in text.split("\n") if line.startswith("COPY")] == [
        'COPY ["./", "/app/"]',
        'COPY ["./", "/app/"]',
        'COPY --from=build --chown=10001 ["/app/", "/app/"]',
    ]


def test_so_are_those_of_assets() -> None:
    package = json.dumps({"workspaces": ["apps/*"], "scripts": {"build": "x"}, "dependencies": {"a": "1"}})
    plan = planned({"package.json": package, "main.py": "", "requirements.txt": "", **packages(60)})
    assert plan.assets is not None and plan.assets.manifests == ("./",)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (501, "package.json: found a workspace of 501 members, wanted at most 500: build.subdir with a part of it"),
        (10_001, "package.json: found 10001 files of this name, wanted at most 10000 in a workspace"),
    ],
)
def test_a_workspace_has_bounds(count: int, said: str) -> None:
    assert refusal({"package.json": WORKSPACE, **packages(count)}) == said


def test_a_package_of_a_dependency_is_no_member() -> None:
    files = {"package.json": WORKSPACE, "apps/node_modules/package.json": "{}", "apps/a b/package.json": "{}"}
    assert planned(files).manifests == ("package.json",)


def test_all_texts_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MAX_TOTAL", 100)
    files = {"requirements.txt": "-r a.txt\n", "a.txt": "#" * 60 + "\n-r b.txt", "b.txt": "#" * 60, "main.py": ""}
    said = refusal(files)
    assert said == (
        "b.txt: found 60 bytes beside those of others, wanted at most 100 bytes in all files that decide how the "
        "source is built"
    )


def test_requirements_have_bounds() -> None:
    said = refusal({"requirements.txt": "-r more.txt\n" + "a\n" * 10_000, "more.txt": "a\n" * 10_000, "main.py": ""})
    assert said == "more.txt: found more than 20000 lines of requirements, wanted fewer"
    listed = ", ".join(f'"a{number}"' for number in range(501))
    said = refusal({"pyproject.toml": f'[project]\nname = "x"\ndependencies = [{listed}]\n', "main.py": ""})
    assert said == "pyproject.toml: project.dependencies: found 501 requirements, wanted at most 500"


def test_a_plan_that_its_reader_refuses_is_an_error() -> None:
    include = tuple(f"data{number}" for number in range(60))
    files = {"go.mod": "module x\ngo 1.24\n", "main.go": "package main", **dict.fromkeys(include, "")}
    assert len(planned(files, include=include[:40]).outputs) == 41
    with pytest.raises(Invalid) as caught:
        planned(files, include=include)
    assert str(caught.value) == (
        ".: found more than a plan can have (plan.outputs: found 61 entries, wanted 0 to 50), "
        "wanted less of it, or a Dockerfile"
    )


def test_processes_of_a_file_have_a_bound() -> None:
    settings = json.dumps({"processes": {f"p{number}": "x" for number in range(51)}})
    said = refusal({".cloudbang.yml": settings, "main.py": ""})
    assert said == ".cloudbang.yml.processes: found 51 processes, wanted at most 50"


def test_programs_have_a_bound_and_a_directory_counts_once() -> None:
    programs = {f"cmd/{number}/main.go": "package main" for number in range(51)}
    said = refusal({"go.mod": "module x\ngo 1.24\n", **programs})
    assert ".: found 51 programs, wanted at most 50: build.subdir with fewer of them" in said
    used = planned({"go.work": "go 1.24\n" + "use ./a\n" * 3, "a/go.mod": "module a", "a/main.go": "package main"})
    assert used.manifests == ("go.work", "a/go.mod")


def test_exposed_ports_have_a_bound() -> None:
    ports = "\n".join(f"EXPOSE {number}" for number in range(1, 101))
    plan = planned({"Dockerfile": f"FROM x\nUSER 1\n{ports}\nEXPOSE 8080\n"})
    assert plan.port == 8080 and plan.warnings[0].startswith("EXPOSE has the ports 1, 2, ")


def test_the_style_of_a_source_is_not_for_those_who_deploy_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = planned({**FLASK, "app.py": "pattern = '\\d'\napp = Flask(__name__)\n"})
    assert plan.processes[0].command == "gunicorn app:app --bind 0.0.0.0:$PORT"


def test_the_search_for_an_application_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_start, "MAX_TOTAL", 100)
    plan = planned({**FLASK, "a.py": "#" * 90, "b.py": "#" * 20, "c.py": "app = Flask(__name__)", "main.py": ""})
    assert plan.processes[0].command == "python main.py"
    assert "b.py and further files are too large to be searched for an application" in plan.warnings


@pytest.mark.parametrize("opening", ["(", "-", "not ", "[", "lambda:", "f'{", "a.", "1+", "a**", "if x:\n "])
def test_nested_source_is_no_application(opening: str) -> None:
    nested = "app = Flask(__name__)\nx = " + opening * 20_000 + "1\n"
    plan = planned({**FLASK, "app.py": nested, "main.py": ""})
    assert plan.processes[0].command in ("python main.py", "gunicorn app:app --bind 0.0.0.0:$PORT")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "a = " + "[" * 100_000),
        ("pyproject.toml", "a" + ".a" * 100_000 + " = 1"),
        ("pyproject.toml", "[a" + ".a" * 100_000 + "]"),
        ("pyproject.toml", "a = " + "{a = " * 100_000),
        ("package.json", "[" * 100_000),
        ("package.json", '{"a":' * 100_000),
        ("package.json", '{"a": [' + "[]," * 200_001 + "[]]}"),
        ("deno.json", "/*" * 100_000),
        ("deno.json", '"\\' * 100_000),
        ("pom.xml", "<a>" * 100_000),
        ("pom.xml", '<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>'),
        ("pnpm-workspace.yaml", "[" * 10_000),
        ("pnpm-workspace.yaml", "a: &a [x, x, x]\n" + "".join(f"b{one}: &b [*a, *a, *a]\n" for one in range(9))),
        (".cloudbang.yml", "- " * 10_000),
    ],
)
def test_nested_documents_are_refused(name: str, text: str) -> None:
    files = {"main.py": "", "package.json": WORKSPACE} if name == "pnpm-workspace.yaml" else {"main.py": ""}
    said = refusal({**files, name: text})
    assert said.startswith(f"{name}: found ") and len(said) < 2000


def test_a_lock_file_has_a_bound() -> None:
    files = {"uv.lock": "#" * (50 << 20), "pyproject.toml": "[project]\nname = 'x'\n", "main.py": ""}
    assert refusal(files) == f"uv.lock: found {50 << 20} bytes, wanted at most {8 << 20} bytes"


def test_a_hundred_thousand_files_are_a_plan() -> None:
    files = dict.fromkeys((f"d{number % 300}/e{number % 70}/{number}" for number in range(100_000)), "")
    assert planned({**files, **FLASK, "app.py": "app = Flask(__name__)"}).language == "python"
    assert len(refusal(files)) < 1000
