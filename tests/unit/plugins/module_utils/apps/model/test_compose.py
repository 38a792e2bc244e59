# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker compose files become stacks, and what is not supported in one is named."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import compose
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.stack_spec import members
from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding


def no_file(path: str) -> str:
    raise FileNotFoundError(path)


def convert(content: Any, **more: Any) -> tuple[dict[str, Any], list[str], list[Finding]]:
    return compose.convert(content, "compose.yml", more.pop("read", no_file), **more)


def service(text: str, **more: Any) -> dict[str, Any]:
    """Return the app that a service of this YAML becomes."""
    content = {"services": {"web": {"image": "x/y:1", **yaml.safe_load(text)}}, **more.pop("top", {})}
    spec, _warnings, findings = convert(content, **more)
    assert findings == []
    app: dict[str, Any] = spec["apps"][0]
    return app


PROCESS = {"name": "worker"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("command: serve 'a b'", {"args": ["serve", "a b"]}),
        ("command: [serve, 'a b']", {"args": ["serve", "a b"]}),
        ("entrypoint: /bin/x -v\ncommand: ''", {"command": ["/bin/x", "-v"]}),
        ("deploy: {replicas: 3}", {"replicas": 3}),
        ("deploy: {replicas: 0}", {"replicas": 0}),
        (
            "deploy: {resources: {limits: {cpus: '0.5', memory: 64m}}}",
            {"resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}},
        ),
        ("deploy: {resources: {limits: {cpus: 2}}}", {"resources": {"limits": {"cpu": "2000m"}}}),
        ("deploy: {resources: {reservations: {memory: 1.5gb}}}", {"resources": {"requests": {"memory": "1536Mi"}}}),
        (
            "healthcheck: {test: [CMD, check, -x], interval: 1m30s, timeout: 1500ms, retries: 5, start_period: 10s}",
            {"readiness": {"command": ["check", "-x"], "period": 90, "timeout": 2, "failures": 5}},
        ),
        (
            "healthcheck: {test: curl -f localhost}",
            {
                "readiness": {
                    "command": ["/bin/sh", "-c", "curl -f localhost"],
                    "period": 30,
                    "timeout": 30,
                    "failures": 3,
                }
            },
        ),
        ("healthcheck: {test: [NONE]}", {}),
        ("healthcheck: {disable: true}", {}),
        ("restart: always", {}),
    ],
)
def test_what_a_worker_becomes(text: str, expected: dict[str, Any]) -> None:
    app = service(text)
    assert app["type"] == "worker" and app["processes"] == [{**PROCESS, **expected}]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("ports: ['8080']", [(8080, "TCP")]),
        ("ports: [8080]", [(8080, "TCP")]),
        ("ports: ['80:8080']", [(8080, "TCP")]),
        ("ports: ['127.0.0.1:80:8080/tcp', '53:53/udp']", [(8080, "TCP"), (53, "UDP")]),
        ("ports: ['8000-8002:9000-9002']", [(9000, "TCP"), (9001, "TCP"), (9002, "TCP")]),
        ("ports: [{target: 80, published: '8080', protocol: tcp, mode: host}]", [(80, "TCP")]),
        ("expose: [3000, '3000', '3001/udp']", [(3000, "TCP"), (3001, "UDP")]),
    ],
)
def test_ports(text: str, numbers: list[tuple[int, str]]) -> None:
    app = service(text)
    assert [(port["port"], port["protocol"]) for port in app["processes"][0]["ports"]] == numbers
    assert app["type"] == ("web" if any(protocol == "TCP" for _number, protocol in numbers) else "worker")


def test_published_ports_are_told() -> None:
    _spec, warnings, findings = convert({"services": {"web": {"image": "x/y:1", "ports": ["80:8080", "9090"]}}})
    assert findings == [] and len(warnings) == 1
    assert "compose.yml: services.web.ports[0]: the hosts do not listen on 80" in warnings[0]


def test_merge_keys_that_multiply_are_refused_at_once() -> None:
    levels = [f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 10)}]}}" for n in range(1, 30)]
    found, findings = compose.load("l0: &l0 {a: 1}\n" + "\n".join(levels), "compose.yml")
    assert found is None and "too many merged keys in line" in findings[0].found


def test_yaml_is_that_of_compose() -> None:
    text = "services: {web: {image: x/y:1, environment: {A: no, B: on, C: 010, D: ~, E: 1.10}, ports: [22:23]}}"
    spec, _warnings, findings = convert(text, variables={"D": "given"})
    assert findings == []
    assert spec["apps"][0]["env"] == {"A": "no", "B": "on", "C": "010", "D": "given", "E": "1.10"}
    assert spec["apps"][0]["processes"][0]["ports"] == [{"port": 23, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "a"),
        ("$A/$$A/${A}", "a/$A/a"),
        ("${NONE:-x}", "x"),
        ("${NONE-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${A:+x}${NONE:+y}", "x"),
        ("${A:?wanted}", "a"),
    ],
)
def test_variables(text: str, expected: str) -> None:
    content = {"services": {"web": {"image": "x/y:1", "environment": {"V": text}}}}
    spec, _warnings, findings = convert(content, variables={"A": "a", "EMPTY": ""})
    assert findings == [] and spec["apps"][0].get("env") == {"V": expected}


def test_secret_variables_make_secrets() -> None:
    app = service("environment: {A: 'x-${S}', B: '${V}'}", secret_variables={"S": "hidden"}, variables={"V": "open"})
    assert app["secret_env"] == {"A": "x-hidden"} and app["env"] == {"B": "open"}
    top = {"secrets": {"key": {"environment": "S"}}, "configs": {"c": {"content": "${S}"}}}
    app = service("secrets: [key, {source: key, target: /etc/k, mode: 256}]", top=top, secret_variables={"S": "hidden"})
    assert [(entry["path"], entry["content"]) for entry in app["secret_files"]] == [
        ("/run/secrets/key", "hidden"),
        ("/etc/k", "hidden"),
    ]
    assert app["secret_files"][1]["mode"] == "0400"
    content = {"services": {"web": {"image": "x/y:1", "configs": ["c"]}}, **top}
    _spec, _warnings, findings = convert(content, secret_variables={"S": "hidden"})
    assert "it in one of the file's secrets" in str(findings[0]) and "hidden" not in str(findings)


@pytest.mark.parametrize(
    "text", ["command: 'x ${S} \"'", "entrypoint: [a, '${S}']", "healthcheck: {test: 'a ${S}'}", "ports: ['${S}']"]
)
def test_secret_variables_stay_where_no_output_shows_them(text: str) -> None:
    content = {"services": {"web": {"image": "x/y:1", **yaml.safe_load(text)}}}
    _spec, _warnings, findings = convert(content, secret_variables={"S": "hidden"})
    assert any(finding.found == "a secret variable" for finding in findings) and "hidden" not in str(findings)


def test_files_are_read_beside_the_compose_file(tmp_path: Path) -> None:
    (tmp_path / "app.env").write_text("# comment\nexport A=1\nB='$x y'\nC=\"${V} z\"\nD=d # told\n\n")
    (tmp_path / "web.ini").write_text("[web]\n")
    top = {"configs": {"ini": {"file": "web.ini"}}}
    text = "{env_file: [app.env, {path: none.env, required: false}], environment: [A=2], configs: [ini]}"
    more = {"read": lambda path: Path(path).read_text(), "directory": str(tmp_path), "variables": {"V": "v"}}
    app = service(text, top=top, **more)
    # What a file of environment has is secret; what the compose file itself has is not.
    assert app["env"] == {"A": "2"} and app["secret_env"] == {"B": "$x y", "C": "v z", "D": "d"}
    assert app["files"] == [{"path": "/ini", "content": "[web]\n"}]


def test_order_and_jobs() -> None:
    content = {
        "services": {
            "web": {
                "image": "x/y:1",
                "ports": ["80"],
                "depends_on": {"init": {"condition": "service_completed_successfully"}},
            },
            "init": {"image": "x/y:1", "command": "migrate", "restart": "no", "depends_on": ["db"]},
            "db": {"image": "x/y:1", "expose": [5432]},
        }
    }
    spec, _warnings, findings = convert(content)
    assert findings == []
    stack, findings = members(spec, "acme", parse)
    assert findings == [] and stack is not None
    assert stack.levels == [["db"], ["init"], ["web"]]
    assert {app.name: app.type for app in stack.apps} == {"web": "web", "init": "job", "db": "web"}


def test_secret_variables_may_stand_in_files_of_environment() -> None:
    app = service("env_file: /e", read=lambda path: 'A=${S}\nB="x-${S}"\n', secret_variables={"S": "hidden"})
    assert app["secret_env"] == {"A": "hidden", "B": "x-hidden"} and "env" not in app


UNSUPPORTED = {
    "build": ".",
    "volumes": ["data:/data"],
    "networks": ["back"],
    "privileged": True,
    "labels": {"a": "b"},
    "cap_add": ["NET_ADMIN"],
    "container_name": "x",
    "network_mode": "host",
    "user": "1000",
    "working_dir": "/srv",
    "devices": ["/dev/kvm"],
    "extends": {"service": "x"},
    "profiles": ["debug"],
    "something": 1,
}


@pytest.mark.parametrize("key", sorted(UNSUPPORTED))
def test_what_is_not_supported_is_named(key: str) -> None:
    _spec, _warnings, findings = convert({"services": {"web": {"image": "x/y:1", key: UNSUPPORTED[key]}}})
    assert [(finding.where, finding.found) for finding in findings] == [
        (f"compose.yml: services.web.{key}", f"{key}, which is not supported here")
    ]


@pytest.mark.parametrize(
    ("content", "place", "text"),
    [
        ("", "compose.yml", "a mapping of version"),
        ("services: {}", "services", "at least one service"),
        ("services: {a: {image: x/y:1}, a: {image: x/y:2}}", "compose.yml", "the key a twice"),
        ("services: {a: [", "compose.yml", "in line 1"),
        ("services: {a: null}", "services.a", "a mapping of image"),
        ("services: {a: {}}", "services.a.image", "the image to run"),
        ("services: {A_b: {image: x/y:1}}", "services.A_b", "lowercase letters"),
        ("volumes: {data: {}}\nservices: {a: {image: x/y:1}}", "volumes", "not supported"),
        ("networks: {n: {}}\nservices: {a: {image: x/y:1}}", "networks", "not supported"),
        ("secrets: {s: {external: true}}\nservices: {a: {image: x/y:1}}", "secrets.s.external", "not supported"),
        ("services: {a: {image: x/y:1, ports: ['x']}}", "services.a.ports[0]", "a port such as"),
        ("services: {a: {image: x/y:1, ports: [0]}}", "services.a.ports[0]", "a port such as"),
        ("services: {a: {image: x/y:1, ports: 80}}", "services.a.ports", "a list of ports"),
        ("services: {a: {image: x/y:1, configs: [c]}}", "services.a.configs[0]", "configs at the top of the file"),
        ("services: {a: {image: '${NONE}'}}", "services.a.image", "a value for NONE in compose.variables"),
        ("services: {a: {image: '${NONE:?say it}'}}", "services.a.image", "wanted say it"),
        ("services: {a: {image: '${'}}", "services.a.image", "$$ for a dollar"),
        ("services: {a: {image: x/y:1, env_file: e}}", "services.a.env_file[0]", "an absolute path"),
        ("services: {a: {image: x/y:1, env_file: /none/e}}", "services.a.env_file[0]", "no file /none/e"),
        ("services: {a: {image: x/y:1, environment: [1=2]}}", "services.a.environment[0]", "letters, digits and _"),
        ("services: {a: {image: x/y:1, deploy: {mode: global}}}", "services.a.deploy.mode", "not supported"),
        ("services: {a: {image: x/y:1, deploy: {resources: {limits: {pids: 5}}}}}", "limits.pids", "not supported"),
        ("services: {a: {image: x/y:1, deploy: {replicas: x}}}", "services.a.deploy.replicas", "a number of replicas"),
        ("services: {a: {image: x/y:1, healthcheck: {test: [x]}}}", "services.a.healthcheck.test", "CMD-SHELL"),
        ("services: {a: {image: x/y:1, healthcheck: {test: a, interval: soon}}}", "healthcheck.interval", "a duration"),
        ("services: {a: {image: x/y:1, restart: on-failure}}", "services.a.restart", "always or unless-stopped"),
        (
            "services: {a: {image: x/y:1, depends_on: {b: {condition: ready}}}, b: {image: x/y:1}}",
            "services.a.depends_on.b.condition",
            "service_healthy",
        ),
    ],
)
def test_bad_files_are_explained(content: str, place: str, text: str) -> None:
    _spec, _warnings, findings = convert(content)
    assert any(place in finding.where and text in str(finding) for finding in findings), findings


def test_small_files_that_would_become_large_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    for text in ("\n".join(lines), "[" * 2000, "&a [*a]"):
        _spec, _warnings, findings = convert(text)
        assert len(findings) == 1 and "compose.yml" in findings[0].where


SCALARS = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=12)
VALUES = some.recursive(
    SCALARS, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3)
)
SERVICES = some.dictionaries(
    some.text(alphabet="ab-_A", min_size=1, max_size=4),
    some.fixed_dictionaries({}, optional=dict.fromkeys(compose.SERVICE, VALUES)),
    max_size=2,
)
FILES = some.fixed_dictionaries({}, optional={**dict.fromkeys(compose.TOP, VALUES), "services": SERVICES})


@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(FILES)
def test_no_content_crashes(content: dict[str, Any]) -> None:
    spec, _warnings, findings = convert(content)
    if not findings:
        members(spec, "acme", parse)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(some.text(max_size=200))
def test_no_text_crashes(text: str) -> None:
    convert(text)


GOOD = """
services:
  web: {image: "x/y:${TAG:-1}", ports: ["80:8080"], environment: {A: b}, depends_on: {db: {condition: service_healthy}},
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 64m}}}, configs: [c]}
  db: {image: x/y:1, healthcheck: {test: [CMD, ok], interval: 5s}, secrets: [{source: s, target: t}]}
configs: {c: {content: text}}
secrets: {s: {content: hidden}}
"""


def test_a_good_file_with_something_changed_is_good_or_explained() -> None:
    """Characters of a good file are exchanged, removed and doubled: the answer is a stack or problems."""
    chance = random.Random(7)
    good = 0
    for _number in range(1500):
        text = list(GOOD)
        for _change in range(chance.randint(1, 4)):
            place = chance.randrange(len(text))
            text[place] = chance.choice(["", text[place] * 2, chance.choice("{}[]:,&*!|>'\"%@`$#- \n\t\x00é0")])
        spec, _warnings, findings = convert("".join(text))
        if not findings:
            good += 1
            members(spec, "acme", parse)
    assert 0 < good < 1500


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    some.text(min_size=1, max_size=10).filter(lambda key: key not in compose.SERVICE and not key.startswith("x-")),
    VALUES,
)
def test_unknown_keys_are_errors(key: str, value: Any) -> None:
    _spec, _warnings, findings = convert({"services": {"web": {"image": "x/y:1", key: value}}})
    assert findings
