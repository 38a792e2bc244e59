# SPDX-License-Identifier: GPL-3.0-or-later
"""Bindings, stacks and templates: what is made of options, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.documentation import documented

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import bindings, template_spec, topology
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.release_spec import ReleaseSpec
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import release_spec
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.stack_spec import levels
from ansible_collections.cloudbang.platform.plugins.module_utils.oci import references

MODULES = Path(__file__).resolve().parents[6] / "plugins" / "modules"
ONE = {"name": "web", "tenant": "acme"}
APP = {"name": "api", "image": "x/y:1", "processes": [{"name": "web", "ports": [8080, {"port": 9, "name": "admin"}]}]}


def spec_of(**more: Any) -> ReleaseSpec:
    return release_spec(parse("app", {"tenant": "acme", **APP, **more}).apps[0], "salt")[0]


def binding(target: dict[str, Any] | None = None, **more: Any) -> bindings.Binding:
    [entry] = parse("app_binding", {**ONE, "target": "api", **more}).bindings
    found, findings = bindings.resolve(entry, target or spec_of(), {"TOKEN": "hidden"})
    assert findings == [] and found is not None
    return found


def wrong(module: str, options: dict[str, Any]) -> str:
    with pytest.raises(Invalid) as caught:
        parse(module, options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("more", "env"),
    [
        (
            {},
            {
                "API_HOST": "api.acme.svc",
                "API_PORT": "8080",
                "API_URL": "http://api.acme.svc:8080",
                "API_PORT_ADMIN": "9",
            },
        ),
        ({"mapping": {"A": "address", "B": "ports.admin"}}, {"A": "api.acme.svc:8080", "B": "9"}),
        ({"mapping": {"U": "url"}, "scheme": "grpc"}, {"U": "grpc://api.acme.svc:8080"}),
        ({"mapping": {"H": "host", "P": "port"}, "process": "web"}, {"H": "api.acme.svc", "P": "8080"}),
    ],
)
def test_what_a_binding_gives(more: dict[str, Any], env: dict[str, str]) -> None:
    assert binding(**more).env == env


def test_credentials_are_secret() -> None:
    found = binding(prefix="B", credentials={"key": "x"}, credentials_from={"token": "TOKEN"})
    assert found.secret_env == {"B_KEY": "x", "B_TOKEN": "hidden"} and "hidden" not in repr(found)
    spec, contents = bindings.with_bindings(spec_of(), [], "web", "salt", [found])
    assert "hidden" not in str(spec) and contents[0].data["B_TOKEN"] == b"hidden"
    assert contents[0].name == spec.bindings[0].secret
    again, _contents = bindings.with_bindings(spec_of(), spec.bindings, "web", "salt", [found])
    assert again == spec
    gone, _contents = bindings.with_bindings(spec, spec.bindings, "web", "salt", [], [found.key])
    assert gone == spec_of()


def test_a_worker_is_reached_at_its_own_service() -> None:
    worker = spec_of(type="worker", processes=[{"name": "a"}, {"name": "b", "ports": [5]}])
    assert binding(worker, mapping={"A": "address"}).env == {"A": "api-b.acme.svc:5"}


@pytest.mark.parametrize(
    ("more", "option", "text"),
    [
        ({}, "target", "a list of bindings"),
        ({"target": "web"}, "target", "another app"),
        ({"target": "A"}, "target", "RFC 1123"),
        ({"target": "api", "target_tenant": "A"}, "target_tenant", "RFC 1123"),
        ({"target": "api", "prefix": "1"}, "prefix", "no digit first"),
        ({"target": "api", "prefix": "A", "mapping": {}}, "mapping", "one of them"),
        ({"target": "api", "mapping": {"A": "ip"}}, "mapping.A", "credentials.NAME"),
        ({"target": "api", "mapping": {"A": "credentials.x"}}, "mapping.A", "one of the binding's credentials"),
        ({"target": "api", "mapping": {"A-B": "host"}}, "mapping.A-B", "letters, digits and _"),
        ({"target": "api", "scheme": "a b"}, "scheme", "the scheme of a URL"),
        ({"target": "api", "credentials": {"a": ["canary"]}}, "credentials.a", "a list (not shown)"),
        (
            {"target": "api", "credentials": {"a": 1}, "credentials_from": {"a": "B"}},
            "credentials_from.a",
            "one of them",
        ),
        ({"bindings": []}, "bindings", "at least one"),
        ({"bindings": [{"target": "a"}], "target": "b"}, "bindings", "one of them"),
        ({"bindings": [{"target": "a"}, {"target": "a"}]}, "bindings[1].target", "each target once"),
        ({"bindings": [{"target": "a", "kind": "service"}]}, "bindings[0].kind", "one of app"),
        ({"target": "a", "keep_releases": 0}, "keep_releases", "1 to 1000"),
    ],
)
def test_bindings_that_are_refused(more: dict[str, Any], option: str, text: str) -> None:
    said = wrong("app_binding", {**ONE, **more})
    assert f"{option}: found" in said and text in said and "canary" not in said


@pytest.mark.parametrize(
    ("graph", "path"),
    [
        ({"a": "b", "b": "c", "c": ""}, None),
        ({"a": "a"}, "aa"),
        ({"a": "b", "b": "a"}, "aba"),
        ({"a": "bd", "b": "c", "c": "b", "d": "a"}, "ada"),
        ({"a": "b", "b": "c", "c": "b"}, None),
    ],
)
def test_cycle_is_found_from_the_app_that_closes_it(graph: dict[str, str], path: str | None) -> None:
    found = bindings.cycle(("a", "t"), lambda node: [(name, "t") for name in graph.get(node[0], "")])
    assert (None if found is None else "".join(name for name, _tenant in found)) == path


@given(some.dictionaries(some.sampled_from("abcdef"), some.sets(some.sampled_from("abcdef"))))
def test_every_app_comes_after_what_it_depends_on(after: dict[str, set[str]]) -> None:
    order, path = levels(after)
    if path:
        assert path[0] == path[-1] and all(later in after[one] for one, later in zip(path, path[1:]))
        return
    assert sorted(name for level in order for name in level) == sorted(after)
    done: set[str] = set()
    for level in order:
        assert all((after[name] & set(after)) <= done for name in level)
        done |= set(level)


STACK = {"name": "shop", "tenant": "acme"}


@pytest.mark.parametrize(
    ("more", "option", "text"),
    [
        ({}, "apps", "one of apps, compose and template"),
        ({"apps": [APP], "compose": {"content": "x"}}, "apps", "one of apps, compose and template"),
        ({"apps": []}, "apps", "at least one app"),
        ({"compose": {}}, "compose", "one of path and content"),
        (
            {"compose": {"path": "a", "variables": {"A": 1}, "secret_variables": {"A": 1}}},
            "compose.secret_variables.A",
            "one of",
        ),
        ({"apps": [{**APP, "tenant": "x"}]}, "apps[0].tenant", "an unknown option"),
        ({"apps": [{**APP, "image": "x"}]}, "apps[0].image", "a fixed tag"),
        ({"apps": [APP, APP]}, "apps[1].name", "each app of a tenant once"),
        ({"apps": [{**APP, "depends_on": ["x"]}]}, "apps[0].depends_on", "another app of the stack"),
        ({"apps": [{**APP, "depends_on": ["api"]}]}, "apps[0].depends_on", "another app of the stack"),
        ({"apps": [APP], "bindings": [{"app": "x", "target": "api"}]}, "bindings[0].app", "an app of the stack"),
        ({"apps": [APP], "bindings": [{"app": "api", "target": "api"}]}, "bindings[0].target", "another app"),
        (
            {"apps": [APP], "routes": [{"app": "api", "tenant": "b", "domains": ["a.b"]}]},
            "routes[0].tenant",
            "of the stack",
        ),
        ({"apps": [APP], "routes": [{"app": "api"}]}, "routes[0].domains", "domains"),
        ({"template": {"name": "a", "version": "1"}, "bindings": []}, "bindings", "in the template"),
        ({"apps": [APP], "name": "A"}, "name", "RFC 1123"),
    ],
)
def test_stacks_that_are_refused(more: dict[str, Any], option: str, text: str) -> None:
    said = wrong("app_stack", {**STACK, **more})
    assert f"{option}: found" in said and text in said


def test_all_findings_of_a_stack_are_told_once() -> None:
    listed = [{"name": "a", "image": 7, "env": "x"}, {"image": "x/y:1"}, "b"]
    said = wrong("app_stack", {**STACK, "apps": listed})
    assert [said.count(text) for text in ("apps[0].env", "apps[1].name", "apps[2]:")] == [1, 1, 1], said


def template(**more: Any) -> dict[str, Any]:
    definition = {"stack": {"apps": [{**APP, "type": "web"}]}, **more}
    return {"name": "shop", "version": "1", "definition": definition}


def with_env(value: str, *parameters: dict[str, Any], option: str = "env") -> dict[str, Any]:
    return template(parameters=list(parameters), stack={"apps": [{**APP, option: {"A": value}}]})


TOKEN = {"name": "token", "type": "secret", "generate": True}
NUMBER = {"name": "number", "type": "int", "default": 1}
SECRET = {"name": "password", "type": "secret", "generate": True}


@pytest.mark.parametrize(
    ("options", "option", "text"),
    [
        ({**template(), "version": "1..2"}, "version", "such as 1.4.0"),
        ({**template(), "version": "A"}, "version", "such as 1.4.0"),
        ({**template(), "name": "a.b"}, "name", "lowercase letters"),
        ({**template(), "file": "x"}, "file", "one of file, definition and stack"),
        ({**template(), "state": "absent"}, "definition", "nothing, because state is absent"),
        ({"name": "a", "version": "1", "state": "exported", "archive": "x.zip"}, "archive", ".tar.zst"),
        ({"state": "imported", "archive": "x.tar.gz"}, "registry", "images: false"),
        (template(parameters=[{"name": "A", "default": 1}]), "definition.parameters[0].name", "lowercase"),
        (
            template(parameters=[{"name": "a"}]),
            "definition.parameters[0]",
            "one of default, generate: true and required",
        ),
        (template(parameters=[NUMBER, NUMBER]), "definition.parameters[1].name", "each parameter once"),
        (template(parameters=[{**NUMBER, "default": "x"}]), "definition.parameters[0].default", "a whole number"),
        (template(parameters=[{**SECRET, "length": 7}]), "definition.parameters[0].length", "8 to 1024"),
        (template(parameters=[{**SECRET, "length": "x"}]), "definition.parameters[0].length", "a whole number"),
        (template(parameters=[{**NUMBER, "generate": True}]), "definition.parameters[0].generate", "only secrets"),
        (
            template(parameters=[{"name": "a", "type": "secret", "default": "canary"}]),
            "parameters[0].default",
            "not shown",
        ),
        (template(parameters=[{"name": "a", "type": "choice", "required": True}]), "parameters[0].choices", "a list"),
        (with_env("${none}"), "definition.stack.apps[0].env.A", "the reference ${none}"),
        (with_env("${"), "definition.stack.apps[0].env.A", "the reference ${"),
        (with_env("x${token}", TOKEN), "definition.stack.apps[0].env.A", "secret_env"),
        (template(stack={"apps": [{**APP, "image": "x"}]}), "definition.stack.apps[0].image", "a fixed tag"),
        (template(stack={"apps": [], "other": 1}), "definition.stack.other", "an unknown option"),
        (template(stack={"apps": [{**APP, "env": {"A": "x" * 900_000}}]}), "definition.stack", "at most 900000 bytes"),
    ],
)
def test_templates_that_are_refused(options: dict[str, Any], option: str, text: str) -> None:
    said = wrong("app_template", options)
    assert f"{option}: found" in said and text in said and "canary" not in said


def test_parameters_take_their_place() -> None:
    values = {"n": 3, "b": True, "t": "x"}
    given_value = {"a": "${n}", "b": ["${b}", "is ${b} ${n} $${t} $t"], "c": 1, "d": "${t}"}
    assert template_spec.substitute(given_value, values) == {"a": 3, "b": [True, "is true 3 ${t} $t"], "c": 1, "d": "x"}


@given(
    some.recursive(some.text(), lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner), max_leaves=5)
)
def test_escaped_texts_come_out_as_they_were(value: Any) -> None:
    escaped = template_spec.escape(value)
    assert template_spec.substitute(escaped, {}) == value


def test_a_digest_tells_versions_apart() -> None:
    one = parse("app_template", template()).template
    other = parse("app_template", template(description="x")).template
    assert one.digest == parse("app_template", template()).template.digest != other.digest


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("a/b:1", ("", "a/b", "1", "")),
        ("r.example/a/b:1", ("r.example", "a/b", "1", "")),
        ("r:5000/a", ("r:5000", "a", "latest", "")),
        ("localhost/a@sha256:0", ("localhost", "a", "", "sha256:0")),
        ("r:5000/a:1@sha256:0", ("r:5000", "a", "1", "sha256:0")),
    ],
)
def test_names_of_images(image: str, parts: tuple[str, ...]) -> None:
    assert references.reference(image) == parts


APPS = [
    {"name": "web", "tenant": "acme", "status": "running", "domains": ["shop.example.org"], "bindings": []},
    {"name": "api", "tenant": "acme", "status": "stopped", "domains": [], "bindings": []},
]
APPS[0]["bindings"] = [
    {
        "kind": "app",
        "tenant": "acme",
        "target": "api",
        "env": {"API_URL": "x"},
        "secret_env": {"API_KEY": "(secret 1)"},
    },
    {"kind": "app", "tenant": "other", "target": 'q"', "env": {}, "secret_env": {}},
]


def test_topology() -> None:
    found = topology.topology(APPS)
    assert [node["id"] for node in found["nodes"]] == ["acme/api", "acme/web", 'other/q"', "shop.example.org"]
    assert [(edge["from"], edge["to"], edge["kind"]) for edge in found["edges"]] == [
        ("acme/web", "acme/api", "binding"),
        ("acme/web", 'other/q"', "binding"),
        ("shop.example.org", "acme/web", "route"),
    ]
    text = topology.dot(found)
    assert text.startswith("digraph apps {\n") and '"acme/web" -> "acme/api" [label="API_KEY, API_URL"];' in text
    assert 'label="web (running)", shape=box' in text and r'"other/q\""' in text
    text = topology.mermaid(found)
    assert text.startswith("flowchart LR\n") and "n1 -->|API_KEY, API_URL| n0" in text and "q#quot;" in text
    assert topology.topology([]) == {"nodes": [], "edges": []}


def test_a_label_is_one_line_and_no_markup() -> None:
    evil = '"]\n click n0 "javascript:alert(1)"<script>`#'
    app = {"tenant": "acme", "status": "running", "domains": [evil], "bindings": []}
    for form in topology.FORMS.values():
        text, plain = (form(topology.topology([{**app, "name": name}])) for name in (evil, "web"))
        assert len(text.splitlines()) == len(plain.splitlines())
    assert "<script>" not in text and '"javascript' not in text and "click n0 #quot;javascript" in text


def test_the_options_of_a_member_are_documented_as_those_of_an_app() -> None:
    def text_of(value: Any) -> str:
        return json.dumps(value, sort_keys=True)

    app, stack, bound = documented("app"), documented("app_stack"), documented("app_binding")
    assert set(app) - set(stack["apps"]["suboptions"]) >= {"apps", "force", "state", "tenant"}
    for name, member in stack["apps"]["suboptions"].items():
        if name not in ("name", "depends_on"):
            assert text_of(member).replace("O(apps[].", "O(") == text_of(app[name]), name
    for name in set(bound["bindings"]["suboptions"]) - {"state", "target"}:
        assert stack["bindings"]["suboptions"][name] == bound["bindings"]["suboptions"][name], name
