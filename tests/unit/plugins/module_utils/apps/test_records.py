# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records in the cluster: what a tenant may have forged is either good in all that is used of it, or not used."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import stack_record, template
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import (
    bindings,
    labels,
    plan,
    releases,
    render,
    template_spec,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.history import history
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import Live
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.release_spec import read_spec, recorded
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.spec import (
    canonical,
    digest_of,
    fingerprint,
    release_spec,
)

APPS: dict[str, dict[str, Any]] = {
    "web": {
        "env": {"A": "1"},
        "secret_env": {"B": "hidden"},
        "files": [{"path": "/etc/a", "content": "x"}],
        "processes": [
            {
                "name": "web",
                "ports": [8080, {"port": 53, "protocol": "UDP"}],
                "resources": {"requests": {"cpu": "100m", "ephemeral_storage": "1Gi"}, "limits": {"memory": "64Mi"}},
                "readiness": {"http": "/", "period": 5},
                "liveness": {"command": ["true"]},
                "placement": {"spread": "zones", "node_labels": {"disk": "ssd"}, "tolerations": ["gpu"]},
                "replicas": 0,
            },
            {"name": "side", "ports": [9000], "host_network": True, "replicas": 2},
        ],
        "strategy": "recreate",
        "image_pull_secrets": ["pull.secret"],
        "restart_key": "x",
    },
    "worker": {},
    "stateful": {"processes": [{"name": "db", "ports": [5432]}]},
    "cron": {"processes": [{"name": "tick", "schedule": "@daily", "time_zone": "Etc/UTC", "start_deadline": 60}]},
    "job": {"processes": [{"name": "once", "parallelism": 2, "deadline": 60}], "restart_key": "1"},
}


def content(kind: str = "web", **more: Any) -> dict[str, Any]:
    """Return what is kept of a release."""
    [app] = parse("app", {"name": "shop", "tenant": "acme", "image": "x/y:1", "type": kind, **APPS[kind]}).apps
    spec, _contents = release_spec(app, "5a17")
    if kind != "job":
        bound = [bindings.Binding("app", "acme", "db", {"DB_HOST": "db"}, {"DB_PASSWORD": "hidden"})]
        spec, _contents = bindings.with_bindings(spec, [], "shop", "5a17", bound)
    made = {
        "app": "shop",
        "version": 3,
        "digest": digest_of(spec, "5a17"),
        "salt": "5a17",
        "spec": recorded(spec),
        "replicas": app.replicas,
        "action": "deploy",
        "source": None,
        "from_tenant": None,
        "from_app": None,
        "created": "2026-11-27T12:00:00Z",
        "by": "somebody@host",
        "id": "0",
    }
    return json.loads(json.dumps({**made, **more}))


def secret(kept: Any, **meta: Any) -> dict[str, Any]:
    name = kept["app"] if isinstance(kept, dict) and isinstance(kept.get("app"), str) else "shop"
    version = kept.get("version") if isinstance(kept, dict) else 3
    data = base64.b64encode(json.dumps(kept).encode()).decode()
    return {
        "metadata": {"name": f"{name}.v{version}", "namespace": "acme", "labels": {}, "annotations": {}, **meta},
        "data": {"release": data},
    }


def refused(entry: Any) -> str:
    """Return the one warning about a release that is not used."""
    said: list[str] = []
    assert releases.read(entry, said.append) is None
    [warning] = said
    return warning


class Entry(dict[str, Any]):
    """A Secret that counts how often it is read."""

    reads = 0

    def get(self, key: Any, default: Any = None) -> Any:
        self.reads += key == "data"
        return super().get(key, default)


def test_releases_of_many_apps_are_read_once() -> None:
    """A task with 200 apps would otherwise read each of their releases 200 times."""
    pairs = [(app, version) for version in (2, 1) for app in ("shop", "api", "cart")]
    entries = [Entry(secret(content(app=app, version=version))) for app, version in pairs]
    lives = plan.with_history(["shop", "cart", "new"], "acme", entries)
    found = {name: [(one.app, one.version) for one in live.releases] for name, live in lives.items()}
    assert found == {"shop": [("shop", 1), ("shop", 2)], "cart": [("cart", 1), ("cart", 2)], "new": []}
    assert {entry.reads for entry in entries} == {1}


@pytest.mark.parametrize("kind", sorted(APPS))
def test_what_is_written_is_read(kind: str) -> None:
    kept = content(kind)
    release = releases.read(secret(kept))
    assert release is not None and recorded(release.spec) == kept["spec"] and release.name == "shop.v3"
    use(release)


@pytest.mark.parametrize("kind", sorted(APPS))
def test_what_a_later_version_has_recorded_is_kept(kind: str) -> None:
    """The digest is that of all of it, also of what this version does not know, and of defaults that were recorded."""
    spec = content(kind)["spec"]
    for part in (spec, *spec["processes"], *spec["files"], *spec.get("bindings", [])):
        part.update(later={"key": [1, None]}, others={"image": "evil/image:1"})
    for process in spec["processes"]:
        process.update({name: process.get(name, {}) for name in ("placement", "schedule", "run")})
        process["host_network"] = False
        for port in process["ports"]:
            port["later"] = "x"
    spec.setdefault("strategy", "rolling")
    spec.setdefault("restart_key", None)
    spec.setdefault("bindings", [])
    assert recorded(read_spec(spec)) == spec
    assert digest_of(read_spec(spec), "5a17") == fingerprint("5a17", canonical(spec))


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        (("spec",), [], "spec: found []"),
        (("spec",), ["x"], 'spec: found ["x"], wanted a mapping'),
        (("spec",), {}, "spec.image: found nothing"),
        (("spec", "image"), 1, "spec.image: found 1, wanted text"),
        (("spec", "type"), "daemon", "spec.type"),
        (("spec", "type"), "cron", "spec.processes[0].run: found nothing"),
        (("spec", "processes"), [], "spec.processes: found 0 entries"),
        (("spec", "processes", 0, "ports", 0, "port"), "80", "spec.processes[0].ports[0].port"),
        (("spec", "processes", 0, "ports", 0, "port"), True, "spec.processes[0].ports[0].port"),
        (("spec", "processes", 0, "ports", 1, "name"), "http", "found a name twice"),
        (("spec", "processes", 0, "resources"), {"limits": {"cpu": "much"}}, "wanted a quantity"),
        (("spec", "processes", 0, "resources"), {"limits": {"cpu": "1e9999999999"}}, "wanted a quantity"),
        (("spec", "processes", 0, "liveness"), {"http": "/"}, "found no command and no port"),
        (("spec", "processes", 1, "ports"), [], "host_network"),
        (("spec", "processes", 1, "name"), "web", "found a name twice"),
        (("spec", "bindings"), {"a": 1}, "spec.bindings: found"),
        (("spec", "bindings", 0, "env"), {"$(rm)": "x"}, "wanted the name of a variable"),
        (("spec", "bindings", 0, "target"), "../x", "wanted the name of an app"),
        (("spec", "files_secret"), None, "wanted the Secret of the files"),
        (("spec", "env_secret"), "../../x", "wanted the name of an object"),
        (("spec", "drain"), 1e999, "found no JSON"),
        (("spec", "grace"), "30", "spec.grace"),
        (("replicas",), {"side": 5000}, "at most 100 with host_network"),
        (("replicas",), {"web": None}, "replicas.web"),
        (("version",), 10**30, "version"),
        (("app",), "Shop", "app: found"),
        (("salt",), "zz", "salt: found"),
        (("by",), "x" * 2000, "at most 1000 characters"),
        (("from_tenant",), ["x"], "from_tenant"),
    ],
)
def test_forged_releases_are_named_and_not_used(path: tuple[Any, ...], value: Any, found: str) -> None:
    kept = content()
    place = kept
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    warning = refused(secret(kept))
    assert warning.startswith("Secret acme/") and found in warning and warning.endswith("; it is not used"), warning


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({}, "Secret ?/?: data.release: found nothing"),
        (None, "Secret ?/?"),
        (
            {"metadata": {"namespace": "acme", "name": "x.v1"}, "data": {"release": "!"}},
            "Secret acme/x.v1: data.release",
        ),
        ({"metadata": [], "data": {"release": base64.b64encode(b"{").decode()}}, "found no JSON"),
        ({"data": {"release": base64.b64encode(b"[" * 100_000).decode()}}, "nested too deep"),
        ({"data": {"release": base64.b64encode(b"[" * 500 + b"]" * 500).decode()}}, "found more than 40 levels"),
        ({"data": {"release": base64.b64encode(b"9" * 10_000).decode()}}, "found no JSON"),
        ({"data": {"release": "A" * (5 << 20)}}, "found 5242880 characters"),
        (secret(content(), name="shop.v4"), "found release v3 of app shop, wanted it in shop.v3"),
        (secret(content(), name="other.v3"), "wanted it in shop.v3"),
        (secret(content(), labels={releases.STATUS: "great"}), "label cloudbang.platform/status: found"),
        (secret(content(), annotations={releases.HEARTBEAT: "nan"}), "annotation cloudbang.platform/heartbeat"),
        (secret(content(), annotations={releases.HEARTBEAT: "9" * 400}), "annotation cloudbang.platform/heartbeat"),
    ],
)
def test_secrets_without_a_usable_release_are_named(entry: Any, found: str) -> None:
    assert found in refused(entry)


def test_the_value_in_a_warning_is_short_and_cannot_reach_a_terminal() -> None:
    warning = refused(secret(content(app="\x1b]0;PWNED\x07\x9b2J\u202e" + "x" * 10_000)))
    assert len(warning) < 800 and all(character.isprintable() for character in warning)


def test_many_values_are_refused() -> None:
    kept = content()
    kept["spec"]["processes"][0]["args"] = [""] * 250_000
    assert "found more than 200000 values" in refused(secret(kept))


def test_shared_parts_are_counted_each_time() -> None:
    value: list[Any] = []
    for _level in range(30):
        value = [value] * 10
    with pytest.raises(records.Wrong, match=r"more than 200000 values"):
        records.bounded(value)
    assert records.bounded([[]] * 3) == [[], [], []]


def use(release: releases.Release) -> None:
    """Do with a release all that the modules do before they ask the API."""
    live = Live(release.app, release.tenant, releases=[release])
    assert history([release])[0]["version"] == release.version
    try:
        made = plan.plan_release(live, release, 10)
    except Invalid:
        return
    assert plan.difference(made)["after"]["image"] == release.spec.image
    plan.beyond_limits(made)
    plan.missing_contents(made)
    plan.removal(live)
    plan.garbage(live, 1)
    bindings.clashes("app", release.spec)
    [edge.summary() for edge in release.spec.bindings]
    wanted = bindings.WantedBinding("x", "web", "app", "acme", release.app, "present", None, None, None, "http", {}, {})
    bindings.resolve(wanted, release.spec, {})


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.sampled_from(["", "web", "shop", "TCP", "cron", "job", "stateful", "@daily", "100m", "/", "0", "a" * 64])
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), st.sampled_from(sorted(APPS)), st.integers(1, 3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_release_with_anything_in_it_is_usable_or_not_used(data: st.DataObject, kind: str, changes: int) -> None:
    kept: Any = content(kind)
    for _change in range(changes):
        spoil(data, kept)
    said: list[str] = []
    release = releases.read(secret(kept), said.append)
    if release is None:
        assert len(said) == 1
    else:
        use(release)


def spoil(data: st.DataObject, value: Any) -> None:
    """Exchange, remove or add something at a random place of a value."""
    place = value
    while True:
        keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        how = data.draw(st.sampled_from(["exchange", "exchange", "remove", "double"]))
        if how == "remove":
            del place[key]
        elif how == "double" and isinstance(place, list):
            place.append(copy.deepcopy(place[key]))
        else:
            place[key] = data.draw(json_values)
        return


@given(json_values)
@settings(max_examples=100, deadline=None)
def test_readers_take_any_json(value: Any) -> None:
    said: list[str] = []
    packed = {"metadata": value, "data": {"release": base64.b64encode(json.dumps(value).encode()).decode()}}
    for entry in (value, packed, secret(value)):
        assert releases.read(entry, said.append) is None
    assert len(said) == 3
    for entry in (value, {"data": value}, {"data": {"stack": packed["data"]["release"]}}):
        assert records.read("Secret", entry, stack_record.recorded) is None
        assert records.read("ConfigMap", entry, template.kept_in) is None
    noted = {"metadata": {"annotations": {labels.RESOURCES: json.dumps(value)}}}
    found = render.scaled_resources(noted)
    assert set(found) <= {"requests", "limits"}
    plan.exceeded(plan.effective({"limits": {"cpu": "1"}}, found), "x", "y")


def packed_stack(value: Any) -> dict[str, Any]:
    data = gzip.compress(json.dumps(value).encode())
    return {
        "metadata": {"name": "shop.stack", "namespace": "acme"},
        "data": {"stack": base64.b64encode(data).decode()},
    }


STACK: dict[str, Any] = {
    "apps": ["web", "api"],
    "levels": [["api"], ["web"]],
    "bindings": [["web", "app", "acme", "api"]],
    "routes": ["web"],
    "spec": {
        "apps": [
            {"name": "web", "image": "x/y:1", "secret_env": {"A": "hidden"}, "secret_files": [{"path": "/a"}]},
            {"name": "api", "image": "x/y:1"},
        ],
        "bindings": [{"app": "web", "target": "api", "credentials": {"A": "hidden"}}],
        "routes": [{"app": "web", "domains": ["x.example.org"], "tls": {"key": "hidden"}}],
    },
    "origin": {"template": {"name": "shop", "version": "1", "digest": "sha256:" + "0" * 64}},
    "generated": {"password": "hidden"},
}


@given(st.data(), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_stack_with_anything_in_it_is_usable_or_not_used(data: st.DataObject, changes: int) -> None:
    value = copy.deepcopy(STACK)
    for _change in range(changes):
        spoil(data, value)
    found = records.read("Secret", packed_stack(value), stack_record.recorded)
    assert found is not None or changes
    if found is not None:
        template_spec.from_stack(found.get("spec") or {}, [])
        [level for level in reversed(found.get("levels", [])) for _name in level]
        {(entry[0], tuple(entry[1:])) for entry in found.get("bindings", [])}
        (found.get("origin") or {}).get("template", {}).get("name")
        {*found.get("routes", []), *found.get("apps", []), *found.get("generated", {})}


def test_what_a_stack_has_recorded_is_read() -> None:
    made = stack_record.secret_of("shop", "acme", STACK)
    assert records.read("Secret", made, stack_record.recorded) == STACK
    with pytest.raises(Invalid, match="content that cannot be recorded"):
        stack_record.secret_of("shop", "acme", {"apps": [1]})


def test_a_small_stack_that_unpacks_to_much_is_refused_within_bounds() -> None:
    data = gzip.compress(b"[" + b"0," * (40 << 20) + b"0]")
    assert len(data) < 200_000
    entry = {"metadata": {"name": "a.stack", "namespace": "x"}, "data": {"stack": base64.b64encode(data).decode()}}
    del data
    said: list[str] = []
    tracemalloc.start()
    began = time.monotonic()
    assert records.read("Secret", entry, stack_record.recorded, said.append) is None
    assert time.monotonic() - began < 10 and tracemalloc.get_traced_memory()[1] < 3 * records.MAX_UNPACKED
    tracemalloc.stop()
    assert "found more than 16777216 bytes when unpacked" in said[0]


@pytest.mark.parametrize(
    ("size", "limit", "fits"), [(0, 0, True), (10, 10, True), (11, 10, False), (100_000, 10, False), (10, 100, True)]
)
def test_unpacking_has_an_exact_limit(size: int, limit: int, fits: bool) -> None:
    data = gzip.compress(b"x" * size)
    if fits:
        # A limit of 0 would mean none.
        assert records.unpacked(data, max(limit, 1)) == b"x" * size
    else:
        with pytest.raises(records.Wrong, match=f"more than {limit} bytes"):
            records.unpacked(data, limit)
    with pytest.raises(records.Wrong, match=r"breaks off|more than|no gzip"):
        records.unpacked(data[:-9], max(limit, 1))


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "1e5x", "", b"\xff", '{"a": -Infinity}'])
def test_only_json_is_parsed(text: Any) -> None:
    with pytest.raises(records.Wrong, match="found no JSON"):
        records.parsed(text)


@pytest.mark.parametrize("heartbeat", [1_000_000.0 + 100, 1_000_000.0 - 100])
def test_a_heartbeat_of_the_past_or_the_future_is_nobodys(heartbeat: float) -> None:
    entry = secret(content(), annotations={releases.HEARTBEAT: f"{heartbeat:.0f}"})
    releases.refuse_concurrent(releases.read(entry), 1_000_000.0)
    now = releases.read(secret(content(), annotations={releases.HEARTBEAT: "1000000"}))
    with pytest.raises(releases.ReleaseError, match="is being rolled out"):
        releases.refuse_concurrent(now, 1_000_000.0)


def test_an_ingress_without_a_host_and_a_count_that_is_none_do_no_harm() -> None:
    live = Live("shop", "acme")
    live.objects["Ingress", "shop"] = {"spec": {"rules": [{}, {"host": "a.example.org"}]}}
    assert live.route.domains == ("a.example.org",)
    for count in ("-1", "9" * 30, "x", "²"):
        entry = {"kind": "Deployment", "spec": {"replicas": 0}, "metadata": {"annotations": {labels.STOPPED: count}}}
        assert plan.remembered(entry) is None
