# SPDX-License-Identifier: GPL-3.0-or-later
"""What the app modules refuse, and the normal form of what they accept."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.arguments import APP, arguments
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.release_spec import Port
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.schedule import wrong_schedule
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.quantities import quantity

GOOD: dict[str, Any] = {
    "name": "shop",
    "tenant": "acme",
    "image": "registry.example.org/acme/shop:1.4.2",
    "processes": [{"name": "web", "ports": [8000]}, {"name": "worker"}],
}
DIGEST = "a" * 64
PROCESS: dict[str, Any] = APP["processes"]["options"]


def app(change: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **(change or {}), **more}


def web(**more: Any) -> dict[str, Any]:
    return app(processes=[{"name": "web", "ports": [8000], **more}])


def job(**more: Any) -> dict[str, Any]:
    """Return a job, or cron app, with the options of its process among those of the app."""
    own = {key: more.pop(key) for key in ("type", "domains") if key in more}
    return app({"type": "job", **own}, processes=[{"name": "run", "ports": [80], **more}])


def findings(module: str, options: dict[str, Any]) -> list[str]:
    with pytest.raises(Invalid) as caught:
        parse(module, options)
    return [str(finding) for finding in caught.value.findings]


# options, the option named in the message, a piece of what is said of it
BAD: list[tuple[dict[str, Any], str, str]] = [
    (app(name="Shop"), "name", 'found "Shop"'),
    (app(name="my_shop"), "name", "RFC 1123"),
    (app(name="-shop"), "name", "RFC 1123"),
    (app(name="1shop"), "name", "a letter first"),
    (app(name="s" * 64), "name", "at most 52"),
    (app(name=""), "name", 'found ""'),
    (app(name=None), "name", "found nothing"),
    (app(name="shop\n"), "name", "RFC 1123"),
    (app(name=["shop"]), "name", "wanted text"),
    (app(tenant=None), "tenant", "found nothing"),
    (app(tenant="Acme Inc"), "tenant", "RFC 1123"),
    (app(tenant="t" * 64), "tenant", "at most 63"),
    (app(tenant="kube-system"), "tenant", "the cluster's own"),
    (app(image=None), "image", "found nothing"),
    (app(image=""), "image", 'found ""'),
    (app(image="shop"), "image", "a fixed tag or a digest"),
    (app(image="shop:latest"), "image", "allow_latest"),
    (app(image="Shop:1"), "image", "lowercase"),
    (app(image="reg.example.org/acme/My Shop:1"), "image", "lowercase"),
    (app(image="shop:1:2"), "image", "lowercase"),
    (app(image="shop:bad/tag"), "image", "a fixed tag"),
    (app(image="shop:" + "t" * 129), "image", "at most 128"),
    (app(image="shop@sha256:abc"), "image", "64 hexadecimal digits"),
    (app(image="shop@md5:" + DIGEST), "image", "@sha256:"),
    (app(image="https://reg.example.org/shop:1"), "image", "registry"),
    (app(image=" shop:1"), "image", "lowercase"),
    (app(image=True), "image", "wanted text"),
    (app(type="batch"), "type", "one of web, worker, stateful, cron, job"),
    (app(strategy="canary"), "strategy", "one of rolling, recreate, blue_green"),
    (app(state="running"), "state", "one of present, absent, started, stopped"),
    (app(imagee="x"), "imagee", "an unknown option"),
    (app(wait="perhaps"), "wait", "true or false"),
    (app(timeout="5m"), "timeout", "a whole number"),
    (app(timeout=0), "timeout", "1 to 86400"),
    (app(keep_releases=0), "keep_releases", "1 to 1000"),
    (app(drain=-1), "drain", "0 to 3600"),
    (app(grace=0), "grace", "1 to 86400"),
    (app(processes={"web": {}}), "processes", "wanted a list"),
    (app(processes="web"), "processes", "wanted a list"),
    (app(processes=[None]), "processes[0]", "found nothing"),
    (app(processes=[{"ports": [80]}]), "processes[0].name", "found nothing"),
    (app(processes=[{"name": "web", "ports": [80]}] * 2), "processes[1].name", "each process once"),
    (app(processes=[{"name": "Web", "ports": [80]}]), "processes[0].name", "RFC 1123"),
    (app(name="s" * 40, processes=[{"name": "w" * 23, "ports": [80]}]), "processes[0].name", "at most 63"),
    (app(processes=None), "processes", "a process with a TCP port"),
    (app(processes=[{"name": "worker"}]), "processes", "a process with a TCP port"),
    (app(processes=[{"name": "dns", "ports": [{"port": 53, "protocol": "UDP"}]}]), "processes", "TCP port"),
    (web(ports=[0]), "processes[0].ports[0]", "1 to 65535"),
    (web(ports=[70000]), "processes[0].ports[0]", "found 70000"),
    (web(ports=["http"]), "processes[0].ports[0].port", "a whole number"),
    (web(ports=[80, 80]), "processes[0].ports[1]", "each port once"),
    (web(ports=[{"port": 80, "name": "HTTP"}]), "processes[0].ports[0].name", "lowercase"),
    (web(ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]), "processes[0].ports[1]", "each name once"),
    (web(ports=[{"port": 80, "protocol": "SCTP"}]), "processes[0].ports[0].protocol", "one of TCP, UDP"),
    (web(ports=[{"prot": 80}]), "processes[0].ports[0].prot", "an unknown option"),
    (web(replicas=-1), "processes[0].replicas", "found -1"),
    (web(replicas="three"), "processes[0].replicas", "a whole number"),
    (web(replicas=2.5), "processes[0].replicas", "a whole number"),
    (web(replicas=True), "processes[0].replicas", "a whole number"),
    (web(replicas=10**6), "processes[0].replicas", "0 to 10000"),
    (web(command="gunicorn 'app"), "processes[0].command", "No closing quotation"),
    (web(command={"a": 1}), "processes[0].command", "a command line or a list"),
    (web(args=[["x"]]), "processes[0].args", "a list of texts"),
    (web(resources={"cpu": 1}), "processes[0].resources.cpu", "one of limits, requests"),
    (web(resources={"requests": {"cpu": "1,5"}}), "processes[0].resources.requests.cpu", 'found "1,5"'),
    (web(resources={"requests": {"memory": "1gb"}}), "processes[0].resources.requests.memory", "64Mi"),
    (web(resources={"requests": {"memory": "8G "}, "limits": {"memory": "4G"}}), "processes[0].resources", "no more"),
    (web(resources={"requests": {"memory": "512m"}}), "processes[0].resources.requests.memory", "1Mi or more"),
    (web(resources={"requests": {"memory": 128}}), "processes[0].resources.requests.memory", "1Mi or more"),
    (web(resources={"limits": {"cpu": "-1"}}), "processes[0].resources.limits.cpu", "a quantity"),
    (web(resources={"limits": {"cpu": "0.1m"}}), "processes[0].resources.limits.cpu", "1m or more"),
    (
        web(resources={"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}),
        "processes[0].resources.requests.cpu",
        "no more than the limit 1500m",
    ),
    (web(readiness={}), "processes[0].readiness", "one of http"),
    (web(readiness={"http": "/", "tcp": True}), "processes[0].readiness", '"http and tcp"'),
    (web(readiness={"http": "healthz"}), "processes[0].readiness.http", "starts with /"),
    (web(readiness={"http": "/", "port": 99999}), "processes[0].readiness.port", "1 to 65535"),
    (web(readiness={"http": "/", "period": 0}), "processes[0].readiness.period", "1 to 3600"),
    (app(type="worker", processes=[{"name": "w", "liveness": {"tcp": True}}]), "processes[0].liveness", "no TCP port"),
    (app(env={"2A": "x"}), "env.2A", "does not start with a digit"),
    (app(env={"A B": "x"}), "env.A B", "a name of letters"),
    (app(env={True: "x"}), "env.<True>", "a name of letters"),
    (app(env={"A": None}), "env.A", "found nothing"),
    (app(env={"A": ["x"]}), "env.A", "wanted text"),
    (app(env={"A": "x\0y"}), "env.A", "NUL"),
    (app(env=["A=x"]), "env", "wanted a mapping"),
    (app(env={"A": "x" * 1_000_001}), "env", "at most 1000000 bytes"),
    (app(env={"A": "x"}, secret_env={"A": "y"}), "secret_env.A", "in one of them"),
    (app(files=[{"path": "etc/a", "content": ""}]), "files[0].path", "an absolute path"),
    (app(files=[{"path": "/etc/../a", "content": ""}]), "files[0].path", "an absolute path"),
    (app(files=[{"path": "/a", "content": ""}, {"path": "/a", "content": ""}]), "files[1].path", "each path once"),
    (app(files=[{"path": "/a"}]), "files[0].content", "found nothing"),
    (app(files=[{"path": "/a", "content": "", "mode": "0999"}]), "files[0].mode", "octal"),
    (app(files=[{"path": "/a", "content": "x" * 1_000_001}]), "files", "at most 1000000 bytes"),
    (app(files=[{"path": "/a", "content": "\udcff"}]), "files[0].content", "UTF-8"),
    (app(domains="shop.example.org"), "domains", "wanted a list"),
    (app(domains=["Shop.example.org"]), "domains[0]", "lowercase"),
    (app(domains=["a.example.org"] * 2), "domains[1]", "each domain once"),
    (app(domains=["http://a.example.org"]), "domains[0]", "a lowercase host name"),
    (app(domains=["a.example.org/x"]), "domains[0]", "a lowercase host name"),
    (app(domains=["10.0.0.1"]), "domains[0]", "not an address"),
    (app(domains=["a" * 64 + ".org"]), "domains[0]", "host name"),
    (app(type="worker", domains=["a.example.org"]), "domains", "type is worker"),
    (app(image_pull_secrets=["A_b"]), "image_pull_secrets[0]", "name of a Secret"),
    (web(command=["a", "x\0y"]), "processes[0].command", "without NUL"),
    (web(args="\udcff"), "processes[0].args", "UTF-8"),
    (app(restart_key="\udcff"), "restart_key", "UTF-8"),
    (app(restart_key=""), "restart_key", "1 to 253 characters"),
    (app(host_ports="80-90"), "host_ports", "1024 to 65535"),
    (app(host_ports="3000-2000"), "host_ports", "a range of ports"),
    (app(host_ports="all"), "host_ports", "such as 20000-24999"),
    (app(strategy="blue_green", wait=False), "wait", "true, because it switches after the wait"),
    (app(type="stateful", strategy="recreate"), "strategy", "rolling, because type is stateful"),
    (app(type="stateful", name="s" * 50), "processes[0].name", "at most 52"),
    (job(), "processes[0].ports", "none, because type is job"),
    (job(ports=[], replicas=2), "processes[0].replicas", "see parallelism"),
    (job(ports=[], readiness={"command": ["x"]}), "processes[0].readiness", "none, because type is job"),
    (job(ports=[], schedule="@daily"), "processes[0].schedule", "none, because type is job"),
    (job(ports=[], parallelism=0), "processes[0].parallelism", "1 to 1000"),
    (job(ports=[], completions=0), "processes[0].completions", "1 to 1000000"),
    (job(ports=[], retries=-1), "processes[0].retries", "0 to 1000"),
    (job(ports=[], deadline=0), "processes[0].deadline", "1 to 100000000"),
    (job(type="cron", ports=[]), "processes[0].schedule", "when it starts"),
    (job(type="cron", ports=[], schedule="daily"), "processes[0].schedule", "five fields"),
    (job(type="cron", ports=[], schedule="61 * * * *"), "processes[0].schedule", "a minute of 0 to 59"),
    (job(type="cron", ports=[], schedule="@daily", time_zone="Mars/Base"), "processes[0].time_zone", "Europe/Berlin"),
    (job(type="cron", ports=[], schedule="@daily", concurrency="queue"), "processes[0].concurrency", "one of allow"),
    (job(type="cron", ports=[], schedule="@daily", start_deadline=1), "processes[0].start_deadline", "10 to 1000000"),
    (job(type="cron", ports=[], schedule="@daily", history={"failed": -1}), "processes[0].history.failed", "0 to 1000"),
    (job(type="cron", ports=[], domains=["a.example.org"]), "domains", "type is cron"),
    (
        app(type="stateful", processes=[{"name": "db"}], domains=["a.example.org"]),
        "domains",
        "a process with a TCP port",
    ),
    (web(deadline=5), "processes[0].deadline", "none, because type is web"),
    (web(placement={"spread": "racks"}), "processes[0].placement.spread", "one of hosts, zones, none"),
    (web(placement={"zone": "a"}), "processes[0].placement.zone", "an unknown option"),
    (web(placement={"node_labels": {"a b": "c"}}), "processes[0].placement.node_labels.a b", "the name of a label"),
    (web(placement={"node_labels": {"a": "b c"}}), "processes[0].placement.node_labels.a", "at most 63"),
    (web(placement={"tolerations": ["gpu", "gpu"]}), "processes[0].placement.tolerations[1]", "each taint once"),
    (web(placement={"tolerations": ["gpu=yes"]}), "processes[0].placement.tolerations[0]", "the name of a taint"),
    (app(tenant="cloudbang-ports"), "tenant", "the cluster's own"),
    ({**web(host_network=True), "env": {"PORT": 1}}, "env.PORT", "host_network of process web sets it"),
    ({**web(host_network=True), "secret_env": {"PORT_HTTP": 1}}, "env.PORT_HTTP", "sets it"),
    (web(host_network=True, replicas=0), "processes[0].host_network", "1 to 100 replicas"),
    (web(host_network=True, liveness={"tcp": True, "port": 9}), "processes[0].liveness.port", "own TCP ports"),
    (app(type="worker", processes=[{"name": "w", "host_network": True}]), "processes[0].host_network", "ports of"),
    (
        app(type="stateful", processes=[{"name": "w", "ports": [1], "host_network": True}]),
        "processes[0].host_network",
        "only web and worker",
    ),
    (
        app(strategy="blue_green", processes=[{"name": "w", "ports": [1], "host_network": True}]),
        "processes[0].host_network",
        "rolling or recreate",
    ),
    (
        app(processes=[{"name": "w", "ports": [1], "host_network": True}, {"name": "w-1"}]),
        "processes[1].name",
        "another name",
    ),
    (app(apps=[{"name": "a"}]), "name", "either name or apps"),
    ({"tenant": "acme", "apps": []}, "apps", "at least one app"),
    ({"tenant": "acme", "apps": {}}, "apps", "wanted a list"),
    ({"tenant": "acme", "apps": ["shop"]}, "apps[0]", "wanted a mapping"),
    ({"tenant": "acme", "apps": [{"image": "x:1"}]}, "apps[0].name", "found nothing"),
    ({"tenant": "a", "type": "worker", "image": "x:1", "apps": [{"name": "a"}] * 2}, "apps[1].name", "once"),
    ({"apps": [{"name": "a", "image": "x:1", "type": "worker"}]}, "apps[0].tenant", "found nothing"),
    (app(execute="here"), "execute", "one of controller, target"),
]


@pytest.mark.parametrize(("options", "option", "text"), BAD)
def test_bad_options_are_named(options: dict[str, Any], option: str, text: str) -> None:
    found = findings("app", options)
    assert [line for line in found if line.startswith(option) and text in line], found


@pytest.mark.parametrize(
    ("module", "more", "option", "text"),
    [
        ("app_scale", {}, "replicas", "found nothing"),
        ("app_scale", {"replicas": -1}, "replicas", "0 to 10000"),
        ("app_scale", {"replicas": "all"}, "replicas", "a whole number"),
        ("app_scale", {"replicas": 10**6}, "replicas", "found 1000000"),
        ("app_scale", {"processes": {"web": -1}}, "processes.web", "0 to 10000"),
        ("app_scale", {"processes": {"web": "x"}}, "processes.web", "a whole number"),
        ("app_scale", {"processes": {}}, "processes", "the replicas of each process"),
        ("app_scale", {"processes": {"web": 1}, "process": "web"}, "processes", "process beside it"),
        ("app_scale", {"replicas": 1, "autoscale": {"max": 3, "cpu": 50}}, "autoscale", "one of them"),
        ("app_scale", {"autoscale": True}, "autoscale", "false, or a mapping"),
        ("app_scale", {"autoscale": {"max": 3}}, "autoscale", "one of them, in percent"),
        ("app_scale", {"autoscale": {"cpu": 50}}, "autoscale.max", "a whole number"),
        ("app_scale", {"autoscale": {"min": 4, "max": 3, "cpu": 50}}, "autoscale.min", "1 to 3"),
        ("app_scale", {"autoscale": {"max": 3, "cpu": 0}}, "autoscale.cpu", "1 to 1000"),
        ("app_scale", {"autoscale": {"max": 3, "cpus": 50}}, "autoscale.cpus", "an unknown option"),
        ("app_scale", {"resources": {"limits": {"cpu": "1,5"}}}, "resources.limits.cpu", "a quantity"),
        ("app_scale", {"replicas": 1, "host_ports": "1"}, "host_ports", "a range of ports"),
        ("app_scale", {"replicas": 1, "name": None}, "name", "found nothing"),
        ("app_scale", {"replicas": 1, "name": "A"}, "name", "RFC 1123"),
        ("app_release", {"version": 0}, "version", "the number of a release"),
        ("app_release", {"version": "-1"}, "version", "last_good"),
        ("app_release", {"version": "previous"}, "version", "last_good"),
        ("app_release", {"version": 1.5}, "version", "last_good"),
        ("app_release", {"tenant": None}, "tenant", "found nothing"),
        ("app_release", {"state": "present"}, "state", "one of rollback"),
        ("app_info", {"tenant": None}, "tenant", "found nothing"),
        ("app_info", {"log_lines": -1}, "log_lines", "0 to 86400"),
        ("app_info", {"lines": 1}, "lines", "an unknown option"),
    ],
)
def test_bad_options_of_the_other_modules(module: str, more: dict[str, Any], option: str, text: str) -> None:
    found = findings(module, {"name": "shop", "tenant": "acme", **more})
    assert len(found) == 1 and found[0].startswith(option) and text in found[0], found


def test_everything_wrong_is_in_one_list() -> None:
    options = {
        "tenant": "Acme",
        "apps": [
            {"name": "Shop", "image": "shop:latest", "processes": [{"name": "web", "ports": [0], "replicas": -1}]},
            {"name": "mail", "image": "", "type": "worker", "secret_env": {"A": ["hidden"]}, "typo": 1},
        ],
    }
    found = findings("app", options)
    assert [line.split(":")[0] for line in found] == [
        "apps[1].typo",
        "apps[0].name",
        "apps[0].tenant",
        "apps[0].image",
        "apps[0].processes[0].replicas",
        "apps[0].processes[0].ports[0]",
        "apps[1].tenant",
        "apps[1].image",
        "apps[1].secret_env.A",
    ]
    assert "hidden" not in "".join(found)


def test_normal_form() -> None:
    [wanted] = parse(
        "app",
        web(
            command="gunicorn -w 2 'my app'",
            args=["--port", 8000],
            replicas="3",
            resources={"requests": {"cpu": 0.5, "memory": "64Mi"}},
            liveness={"http": "/live"},
        ),
    ).apps
    process = wanted.processes[0]
    assert process.command == ("gunicorn", "-w", "2", "my app")
    assert process.args == ("--port", "8000")
    assert process.ports == (Port("http", 8000, "TCP"),)
    assert process.readiness == {"tcp": True, "port": 8000}
    assert process.liveness == {"http": "/live", "port": 8000}
    assert process.resources == {"requests": {"cpu": "0.5", "memory": "64Mi"}}
    assert wanted.replicas == {"web": 3}


def test_strange_secrets_and_line_ends_are_kept() -> None:
    strange = "$HOME '\" {{ x }} \\ \n\r\n ü \U0001f512  "
    options = app(
        env={"N": 2, "B": True, "F": 0.5, "E": ""},
        secret_env={"S": strange},
        files=[{"path": "/a", "content": "a\r\nb\r\n", "mode": 0o400}],
    )
    [wanted] = parse("app", options).apps
    assert wanted.env == {"N": "2", "B": "true", "F": "0.5", "E": ""}
    assert wanted.secret_env == {"S": strange}
    assert wanted.files[0].content == b"a\r\nb\r\n" and wanted.files[0].mode == 0o400
    assert strange not in repr(wanted)


def test_options_beside_the_list_hold_for_all() -> None:
    options = {
        "tenant": "acme",
        "image": "x:1",
        "type": "worker",
        "apps": [{"name": "a"}, {"name": "b", "tenant": "other", "image": "y:2"}],
    }
    wanted = parse("app", options).apps
    assert [(entry.key, entry.image, entry.type) for entry in wanted] == [
        ("acme/a", "x:1", "worker"),
        ("other/b", "y:2", "worker"),
    ]


@pytest.mark.parametrize(
    "image",
    [
        "shop:1",
        "acme/shop:1.2-rc.1_x",
        "localhost/shop:1",
        "localhost:5000/acme/shop:1",
        "10.0.0.1:5000/a/b/c:1",
        "registry.example.org/a__b/c-d.e:V1",
        f"shop@sha256:{DIGEST}",
        f"registry.example.org:5000/shop:1@sha256:{DIGEST}",
    ],
)
def test_good_images(image: str) -> None:
    assert parse("app", app(image=image)).apps[0].image == image


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", Decimal(1)),
        ("100m", Decimal("0.1")),
        ("0.5", Decimal("0.5")),
        (".5", Decimal("0.5")),
        ("1.", Decimal(1)),
        ("+2k", Decimal(2000)),
        ("1Ki", Decimal(1024)),
        ("1.5Gi", Decimal(1610612736)),
        ("2e3", Decimal(2000)),
        ("1E", Decimal(10) ** 18),
        ("1K", None),
        ("1gb", None),
        ("1,5", None),
        ("", None),
        ("Mi", None),
        ("1 Gi", None),
        ("1e", None),
    ],
)
def test_quantity(text: str, value: Decimal | None) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "* * * * *",
        "*/15 0-6,22 1,15 jan-mar SUN",
        "? ? ? ? ?",
        "5/10 0 1 12 0",
        "@yearly",
        "@every 90s",
        "@every 1h30m",
    ],
)
def test_good_schedules(text: str) -> None:
    assert wrong_schedule(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "*/0 * * * *",
        "5-1 * * * *",
        "1, * * * *",
        "* * * foo *",
        "@noon",
        "@every",
        "@every 0s",
        "@every -5m",
        "TZ=UTC * * * * *",
    ],
)
def test_bad_schedules(text: str) -> None:
    assert wrong_schedule(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*APP, "apps", "wait", "unknown"])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_no_input_crashes(options: dict[str, Any]) -> None:
    try:
        parse("app", options)
    except Invalid as error:
        assert error.findings
        json.dumps([finding.as_dict() for finding in error.findings])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["app_scale", "app_release", "app_info"]), st.data())
def test_no_input_of_the_other_modules_crashes(module: str, data: st.DataObject) -> None:
    keys = st.sampled_from([*arguments(module), "unknown"])
    options = data.draw(st.dictionaries(keys, JSON | st.just({"min": 1, "max": {}, "cpu": "x"}), max_size=6))
    try:
        parse(module, {"name": "shop", "tenant": "acme", **options})
    except Invalid as error:
        assert error.findings
    else:
        assert "unknown" not in options


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12), st.sampled_from(["app", "process", "placement", "probe"]))
def test_unknown_keys_are_errors(key: str, where: str) -> None:
    options = web(placement={}, readiness={"tcp": True})
    [process] = options["processes"]
    place, known = {
        "app": (options, set(arguments("app"))),
        "process": (process, set(PROCESS)),
        "placement": (process["placement"], set(PROCESS["placement"]["options"])),
        "probe": (process["readiness"], set(PROCESS["readiness"]["options"])),
    }[where]
    if key in known:
        return
    place[key] = 1
    assert any("an unknown option" in line and key in line for line in findings("app", options))


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_no_schedule_crashes(text: str) -> None:
    wrong_schedule(text)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(APP["processes"]["options"])), JSON, max_size=5), JSON)
def test_no_process_crashes(process: dict[str, Any], env: Any) -> None:
    for kind in ("web", "stateful", "cron", "job"):
        try:
            parse("app", app(type=kind, processes=[{"name": "web", "ports": [80], **process}], env=env))
        except Invalid as error:
            assert error.findings
