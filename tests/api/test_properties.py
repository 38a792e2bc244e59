# SPDX-License-Identifier: GPL-3.0-or-later
"""The API accepts everything that the parser accepts: random valid apps, rendered and sent as a dry run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import plan, render, tenant_annotations
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.plan import Live
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds, objects

from .conftest import Api, make_tenant

TENANT = "properties"
LASTING = ("web", "worker", "stateful")

label = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
amounts = st.fixed_dictionaries({}, optional={"cpu": st.sampled_from(["100m", 0.5, "2"]), "memory": st.just("64Mi")})
limits = st.fixed_dictionaries(
    {}, optional={"cpu": st.sampled_from(["2", 3]), "memory": st.sampled_from(["64Mi", "1G"])}
)
probe = st.one_of(
    st.fixed_dictionaries({"http": st.sampled_from(["/", "/up?x=1&y=ü"])}),
    st.fixed_dictionaries({"tcp": st.just(True)}),
    st.fixed_dictionaries({"command": st.lists(text, min_size=1, max_size=3)}),
)
probes = st.fixed_dictionaries(
    {},
    optional={
        "initial_delay": st.integers(0, 3600),
        "period": st.integers(1, 3600),
        "timeout": st.integers(1, 3600),
        "failures": st.integers(1, 3600),
    },
)
placement = st.fixed_dictionaries(
    {},
    optional={
        "spread": st.sampled_from(["hosts", "zones", "none"]),
        "node_labels": st.dictionaries(
            st.sampled_from(["disk", "example.org/a.b_c"]), st.sampled_from(["ssd", "", True, 7])
        ),
        "tolerations": st.lists(st.sampled_from(["gpu", "example.org/gpu"]), unique=True),
    },
)
run = {
    "parallelism": st.integers(1, 1000),
    "completions": st.integers(1, 10**6),
    "retries": st.integers(0, 1000),
    "deadline": st.integers(1, 10**8),
}
schedule = st.one_of(
    st.sampled_from(["@hourly", "@daily", "@yearly", "@every 1h30m5s", "0 0 31 2 *"]),
    st.sampled_from(["*/5 0-23/2 ? JAN-mar,12 sun,1-5", "59 23 31 12 6", "0 0 1 1 0"]),
)


@st.composite
def processes(draw: st.DrawFn, kind: str, strategy: str) -> list[dict[str, Any]]:
    found = []
    for name in draw(st.lists(label, min_size=1, max_size=3, unique=True)):
        process: dict[str, Any] = {"name": name, "placement": draw(placement)}
        process["resources"] = {"requests": draw(amounts), "limits": draw(limits)}
        for part in ("command", "args"):
            process[part] = draw(st.none() | st.lists(text, max_size=3))
        if kind in LASTING:
            ports = draw(st.lists(st.integers(1, 65535), unique=True, max_size=3))
            if kind == "web" and not found:
                ports = ports or [8080]
            process["ports"] = [{"port": port} for port in ports]
            if ports and kind == "worker":
                process["ports"][-1]["protocol"] = draw(st.sampled_from(["TCP", "UDP"]))
            process["replicas"] = draw(st.integers(1, 100))
            if ports and kind != "stateful" and strategy != "blue_green":
                process["host_network"] = draw(st.booleans())
            if any(port.get("protocol") != "UDP" for port in process["ports"]):
                for part in ("readiness", "liveness", "startup"):
                    process[part] = draw(st.none() | st.builds(lambda one, two: {**one, **two}, probe, probes))
        else:
            process |= draw(st.fixed_dictionaries({}, optional=run))
        if kind == "cron":
            process["schedule"] = draw(schedule)
            process |= draw(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "time_zone": st.sampled_from(["Etc/UTC", "America/Argentina/Buenos_Aires"]),
                        "concurrency": st.sampled_from(["allow", "forbid", "replace"]),
                        "start_deadline": st.integers(10, 10**6),
                        "history": st.fixed_dictionaries({}, optional={"succeeded": st.integers(0, 1000)}),
                    },
                )
            )
        found.append(process)
    return found


@st.composite
def apps(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["web", "worker", "stateful", "cron", "job"]))
    strategy = draw(st.sampled_from(["rolling", "recreate", "blue_green"])) if kind in ("web", "worker") else "rolling"
    files = draw(st.dictionaries(label, text, max_size=3))
    domains = st.lists(st.sampled_from(["a.example.org", "*.b.example"]), unique=True)
    return {
        "name": draw(label),
        "tenant": TENANT,
        "image": "x/y:1",
        "type": kind,
        "strategy": strategy,
        "state": draw(st.sampled_from(["present", "stopped"])),
        "processes": draw(processes(kind, strategy)),
        "env": draw(st.dictionaries(st.sampled_from(["A", "_b", "C9"]), text)),
        "secret_files": [{"path": f"/etc/{name}", "content": content} for name, content in files.items()],
        "domains": draw(domains) if kind == "web" else [],
        "restart_key": draw(st.none() | text.filter(bool)),
        "drain": draw(st.integers(0, 3600)),
        "grace": draw(st.integers(1, 86400)),
    }


@pytest.fixture(scope="module")
def space(api: Api) -> None:
    """A tenant, so that the admission policies check the rendered objects, too."""
    annotations = {tenant_annotations.TOLERATIONS: "gpu,example.org/gpu"}
    make_tenant(api, TENANT, annotations, {"pod-security.kubernetes.io/enforce": "privileged"})


def refused(api: Api, wanted: dict[str, Any]) -> str:
    """Return why the API refuses an object, nothing when it does not."""
    where = kinds.path(wanted["kind"], TENANT, wanted["metadata"]["name"])
    query = {"fieldManager": "test", "force": "true", "dryRun": "All", "fieldValidation": "Strict"}
    try:
        api.kube.request("PATCH", where, query, wanted, content_type=client.APPLY)
    except client.ApiError as error:
        return f"{wanted['kind']} {wanted['metadata']['name']}: {error} {error.causes}"
    return ""


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(options=apps())
def test_what_is_accepted_is_accepted_by_the_api(api: Api, space: None, options: dict[str, Any]) -> None:
    [app] = parse("app", options).apps
    made = plan.plan_app(app, Live(app.name, TENANT))
    scales = {(entry["kind"], entry["metadata"]["name"]): entry for entry in made.scales}
    findings = [refused(api, render.content(app.name, TENANT, entry)) for entry in made.contents]
    for entry in made.applies:
        scale = scales.get((entry["kind"], entry["metadata"]["name"]))
        wanted = {**entry, "spec": objects.merged(entry["spec"], scale["spec"])} if scale else entry
        findings.append(refused(api, wanted))
    assert not any(findings), findings
