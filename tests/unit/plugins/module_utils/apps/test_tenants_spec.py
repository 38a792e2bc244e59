"""What the tenant modules refuse, and the defaults that keep a quota from refusing pods."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.arguments import arguments
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.tenant_info import describe
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.tenant_objects import gateways_of, objects
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.tenant_spec import tenant_of

ROOT = Path(__file__).resolve().parents[5]
MODULES = ("tenant", "tenant_kubeconfig", "tenant_info")


def tenant(**more: Any) -> dict[str, Any]:
    return {"name": "acme", **more}


def with_member(name: Any, kind: str = "user", role: str = "owner") -> dict[str, Any]:
    return tenant(members=[{"name": name, "kind": kind, "role": role}])


def kubeconfig(**more: Any) -> dict[str, Any]:
    return {"tenant": "acme", "member": "ann", "path": "/none/ann.conf", **more}


# module, options, the option named in the message, a piece of what is said of it
BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("tenant", {}, "name", "found nothing"),
    ("tenant", tenant(name="Acme"), "name", "RFC 1123"),
    ("tenant", tenant(name="a" * 64), "name", "at most 63"),
    ("tenant", tenant(name="acme\n"), "name", "RFC 1123"),
    ("tenant", tenant(name="kube-system"), "name", "the cluster's own"),
    ("tenant", tenant(name="kube-anything"), "name", "the cluster's own"),
    ("tenant", tenant(name="default"), "name", "the cluster's own"),
    ("tenant", tenant(name="cloudbang-ports"), "name", "the cluster's own"),
    ("tenant", tenant(state="paused"), "state", "present, absent"),
    ("tenant", tenant(quotas={}), "quotas", "unknown option"),
    ("tenant", tenant(pod_security="strict"), "pod_security", "baseline, restricted, privileged"),
    ("tenant", tenant(quota={"gpu": 1}), "quota.gpu", "unknown option"),
    ("tenant", tenant(quota={"cpu": "8 cores"}), "quota.cpu", "a quantity such as 500m"),
    ("tenant", tenant(quota={"cpu": -1}), "quota.cpu", "a quantity"),
    ("tenant", tenant(quota={"memory": "16gb"}), "quota.memory", "16Gi"),
    ("tenant", tenant(quota={"memory": "16"}), "quota.memory", "16Gi"),
    ("tenant", tenant(quota={"memory": "512m"}), "quota.memory", "16Gi"),
    ("tenant", tenant(quota={"pods": "many"}), "quota.pods", "a whole number"),
    ("tenant", tenant(quota={"secrets": -1}), "quota.secrets", "0 or more"),
    ("tenant", tenant(quota={"cpu": 2, "limits_cpu": 1}), "quota.limits_cpu", "2 or more"),
    ("tenant", tenant(limits={"default": {"memory": "1gb"}}), "limits.default.memory", "64Mi"),
    ("tenant", tenant(limits={"max": {"disk": "1Gi"}}), "limits.max.disk", "unknown option"),
    ("tenant", tenant(limits={"min": {"cpu": 2}, "max": {"cpu": "1500m"}}), "limits.min.cpu", "max, 1500m"),
    (
        "tenant",
        tenant(limits={"default_request": {"memory": "2Gi"}, "default": {"memory": "1Gi"}}),
        "limits.default_request.memory",
        "default, 1Gi",
    ),
    ("tenant", tenant(network="closed"), "network", "isolated, open"),
    ("tenant", tenant(peers=["Acme"]), "peers[0]", "RFC 1123"),
    ("tenant", tenant(peers=["acme"]), "peers[0]", "another tenant"),
    ("tenant", tenant(peers=["b", "b"]), "peers[1]", "once"),
    ("tenant", tenant(peers=["b"], network="open"), "peers", "everybody reaches"),
    ("tenant", with_member(None), "members[0].name", "found nothing"),
    ("tenant", with_member(""), "members[0].name", "1 to 64"),
    ("tenant", with_member("ann\n"), "members[0].name", "printable"),
    ("tenant", with_member("system:masters", "group"), "members[0].name", "system:"),
    ("tenant", with_member("cloudbang:gateway"), "members[0].name", "cloudbang:"),
    ("tenant", with_member("ann", "robot"), "members[0].kind", "service_account"),
    ("tenant", with_member("ann", role="admin"), "members[0].role", "owner, developer, viewer"),
    ("tenant", with_member("CI", "service_account"), "members[0].name", "lowercase"),
    ("tenant", with_member("default", "service_account"), "members[0].name", "of its own"),
    (
        "tenant",
        tenant(members=[{"name": "ann", "role": "owner"}, {"name": "ann", "role": "viewer"}]),
        "members[1].name",
        "members[0] is the same",
    ),
    ("tenant", tenant(timeout=0), "timeout", "1 to"),
    ("tenant_kubeconfig", {"tenant": "acme", "path": "/x"}, "member", "found nothing"),
    ("tenant_kubeconfig", kubeconfig(tenant="kube-system"), "tenant", "the cluster's own"),
    ("tenant_kubeconfig", kubeconfig(kind="group"), "kind", "user, service_account"),
    ("tenant_kubeconfig", kubeconfig(member="system:admin"), "member", "system:"),
    ("tenant_kubeconfig", kubeconfig(lifetime="5m"), "lifetime", "10m to 365d"),
    ("tenant_kubeconfig", kubeconfig(lifetime="366d"), "lifetime", "10m to 365d"),
    ("tenant_kubeconfig", kubeconfig(lifetime="8"), "lifetime", "such as 30m, 8h"),
    ("tenant_info", {"name": "Acme"}, "name", "RFC 1123"),
]


@pytest.mark.parametrize(("module", "options", "option", "text"), BAD)
def test_bad_options_are_named(module: str, options: dict[str, Any], option: str, text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(module, options)
    assert [problem.option for problem in caught.value.problems] == [option]
    assert text in str(caught.value)


def test_everything_wrong_is_told_at_once() -> None:
    options = tenant(
        name="Acme", quota={"cpu": "x", "gpu": 1}, peers=["B"], members=[{"name": "system:x", "role": "god"}]
    )
    with pytest.raises(Invalid) as caught:
        parse("tenant", options)
    named = {problem.option for problem in caught.value.problems}
    assert named == {"name", "quota.cpu", "quota.gpu", "peers[0]", "members[0].name", "members[0].role"}


# options, the limits of the LimitRange; None: there is none
DEFAULTS: list[tuple[dict[str, Any], dict[str, dict[str, str]]]] = [
    ({}, {}),
    ({"quota": {"pods": 3}}, {}),
    ({"quota": {"cpu": 2}}, {"defaultRequest": {"cpu": "100m"}}),
    ({"quota": {"memory": "1Gi"}}, {"defaultRequest": {"memory": "128Mi"}}),
    ({"quota": {"limits_cpu": 2}}, {"default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}}),
    (
        {"quota": {"limits_memory": "1Gi"}, "limits": {"max": {"memory": "256Mi"}}},
        {"default": {"memory": "256Mi"}, "defaultRequest": {"memory": "128Mi"}, "max": {"memory": "256Mi"}},
    ),
    (
        {"quota": {"cpu": 2}, "limits": {"default_request": {"cpu": "50m"}}},
        {"defaultRequest": {"cpu": "50m"}},
    ),
    (
        {"quota": {"cpu": 2}, "limits": {"min": {"cpu": "200m"}}},
        {"defaultRequest": {"cpu": "200m"}, "min": {"cpu": "200m"}},
    ),
    (
        {"limits": {"max": {"memory": "64Mi"}}},
        {"defaultRequest": {"memory": "64Mi"}, "max": {"memory": "64Mi"}},
    ),
    (
        {"quota": {"limits_cpu": 8}, "limits": {"min": {"cpu": 2}}},
        {"default": {"cpu": "2"}, "defaultRequest": {"cpu": "2"}, "min": {"cpu": "2"}},
    ),
]


@pytest.mark.parametrize(("options", "limits"), DEFAULTS)
def test_defaults_that_keep_a_quota_from_refusing_pods(options: dict[str, Any], limits: dict[str, Any]) -> None:
    wanted = tenant_of(parse("tenant", tenant(**options)))
    assert wanted.limits == limits
    ranges = [entry["spec"] for entry in objects(wanted, []) if entry["kind"] == "LimitRange"]
    assert ranges == ([{"limits": [{"type": "Container", **limits}]}] if limits else [])


def test_gateways_are_the_addresses_of_nodes_and_tunnels() -> None:
    note = {"projectcalico.org/IPv4VXLANTunnelAddr": "10.244.7.0"}
    addresses = [
        {"type": "Hostname", "address": "lb1"},
        {"type": "InternalIP", "address": "10.0.0.31"},
        {"type": "InternalIP", "address": "fd00::31"},
    ]
    nodes = [
        {"metadata": {"annotations": note}, "status": {"addresses": addresses}},
        {"metadata": {}, "status": {}},
    ]
    assert gateways_of(nodes) == ["10.0.0.31/32", "10.244.7.0/32", "fd00::31/128"]


def pod(app: str, *requests: dict[str, str], phase: str = "Running") -> dict[str, Any]:
    containers = [{"name": f"c{number}", "resources": {"requests": entry}} for number, entry in enumerate(requests)]
    return {
        "metadata": {"labels": {"cloudbang.platform/app": app}},
        "spec": {"containers": [*containers, {"name": "bare"}]},
        "status": {"phase": phase},
    }


def test_usage_is_what_running_pods_request() -> None:
    own: dict[str, list[dict[str, Any]]] = {kind: [] for kind in ("ResourceQuota", "LimitRange", "NetworkPolicy")}
    own |= {"RoleBinding": [], "ServiceAccount": []}
    own["app"] = [{"metadata": {"labels": {"cloudbang.platform/app": name}}} for name in ("idle", "shop", "shop")]
    own["Pod"] = [
        pod("shop", {"cpu": "100m", "memory": "64Mi"}, {"cpu": "0.5", "memory": "100M"}),
        pod("shop", {"cpu": "1"}),
        pod("shop", {"cpu": "8"}, phase="Succeeded"),
    ]
    shown = describe({"metadata": {"name": "acme", "labels": {}}}, own, None, None)
    assert shown["usage"] == {
        "idle": {"pods": 0, "cpu": "0m", "memory": "0Mi"},
        "shop": {"pods": 2, "cpu": "1600m", "memory": "160Mi"},
    }
    assert (shown["apps"], shown["problems"]) == (2, [])


def texts() -> list[str]:
    found = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "tenants.md").read_text(), re.DOTALL)
    for module in MODULES:
        source = (ROOT / "plugins" / "modules" / f"{module}.py").read_text()
        found += re.findall(r'EXAMPLES = r"""\n(.*?)"""', source, re.DOTALL)
    return found


def test_examples_are_accepted() -> None:
    seen = set()
    for text in texts():
        for entry in yaml.safe_load(text):
            for task in entry.get("tasks", [entry]):
                for key in (key for key in task if key.startswith("cloudbang.platform.")):
                    parse(key.rpartition(".")[2], task[key])
                    seen.add(key.rpartition(".")[2])
    assert seen == set(MODULES)


def compare(documented: dict[str, Any], table: dict[str, Any], where: str) -> None:
    assert set(documented) == set(table), where
    for name, option in table.items():
        for key in ("default", "type", "choices", "required", "elements"):
            assert documented[name].get(key) == option.get(key), f"{where}{name}: {key}"
        if "options" in option:
            compare(documented[name]["suboptions"], option["options"], f"{where}{name}.")


@pytest.mark.parametrize("module", MODULES)
def test_documentation_has_every_option(module: str) -> None:
    sources = [(ROOT / "plugins" / "modules" / f"{module}.py"), (ROOT / "plugins" / "doc_fragments" / "kubernetes.py")]
    documented: dict[str, Any] = {}
    for source in sources:
        text = re.findall(r'DOCUMENTATION = r"""\n(.*?)"""', source.read_text(), re.DOTALL)[0]
        documented |= yaml.safe_load(text)["options"]
    compare(documented, arguments(module), "")
