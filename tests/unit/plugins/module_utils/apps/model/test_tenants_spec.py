# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tenant modules refuse, and the defaults that keep a quota from refusing pods."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.documentation import documented

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions.tenant_info import describe
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import tenant_quota
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.arguments import arguments
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.refusals import advice
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_names import (
    beginning,
    covers,
    domain_findings,
    reserved,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_objects import gateways_of, objects
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_quota import DERIVED, counted
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_roles import RULES
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.tenant_spec import tenant_of

ROOT = Path(__file__).resolve().parents[6]
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
    ("tenant", tenant(name="kube"), "name", "the cluster's own"),
    ("tenant", tenant(name="cloudbang"), "name", "the cluster's own"),
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
    ("tenant", tenant(limits={"default": {"ephemeral_storage": "1gb"}}), "limits.default.ephemeral_storage", "64Mi"),
    ("tenant", tenant(objects={"nodes": 1}), "objects.nodes", "one of configmaps, "),
    ("tenant", tenant(objects={"secrets": "many"}), "objects.secrets", "a whole number"),
    ("tenant", tenant(objects={"secrets": -1}), "objects.secrets", "0 or more"),
    ("tenant", tenant(objects={"secrets": 1, "Secret": 2}), "objects.Secret", "each kind once"),
    ("tenant", tenant(objects={"middlewares.traefik.io": 1}), "objects.middlewares.traefik.io", "one of"),
    ("tenant", tenant(domains=["Shop.example.org"]), "domains[0]", "lowercase domain"),
    ("tenant", tenant(domains=["a.example,b.example"]), "domains[0]", "lowercase domain"),
    ("tenant", tenant(domains=["a.example\n"]), "domains[0]", "lowercase domain"),
    ("tenant", tenant(domains=["*"]), "domains[0]", "lowercase domain"),
    ("tenant", tenant(domains=["*.org"]), "domains[0]", "lowercase domain"),
    ("tenant", tenant(domains=["a.*.example"]), "domains[0]", "lowercase domain"),
    ("tenant", tenant(domains=["10.0.0.1"]), "domains[0]", "lowercase domain"),
    ("tenant", tenant(domains=[f"{'a' * 64}.example"]), "domains[0]", "lowercase domain"),
    ("tenant", tenant(domains=["a.example", "a.example"]), "domains[1]", "each one once"),
    ("tenant", tenant(tolerations=["gpu,dedicated"]), "tolerations[0]", "the key of a taint"),
    ("tenant", tenant(tolerations=[""]), "tolerations[0]", "the key of a taint"),
    ("tenant", tenant(priority_classes=["system-node-critical"]), "priority_classes[0]", "not the cluster's own"),
    ("tenant", tenant(priority_classes=["a,b"]), "priority_classes[0]", "PriorityClass"),
    ("tenant", tenant(images=["tools"]), "images[0]", "with a slash"),
    ("tenant", tenant(images=["/"]), "images[0]", "with a slash"),
    ("tenant", tenant(images=["tools/,other/"]), "images[0]", "with a slash"),
    ("tenant", tenant(images=["tools/../acme/"]), "images[0]", "with a slash"),
    ("tenant", tenant(network="closed"), "network", "isolated, open"),
    ("tenant", tenant(peers=["Acme"]), "peers[0]", "RFC 1123"),
    ("tenant", tenant(peers=["acme"]), "peers[0]", "another tenant"),
    ("tenant", tenant(peers=["b", "b"]), "peers[1]", "once"),
    ("tenant", tenant(peers=["b"], network="open"), "peers", "everybody can reach"),
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
    ("tenant_kubeconfig", kubeconfig(kind="service_account", lifetime="25h"), "lifetime", "at most 24h"),
    ("tenant_info", {"name": "Acme"}, "name", "RFC 1123"),
]


@pytest.mark.parametrize(("module", "options", "option", "text"), BAD)
def test_bad_options_are_named(module: str, options: dict[str, Any], option: str, text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(module, options)
    assert [finding.where for finding in caught.value.findings] == [option]
    assert text in str(caught.value)


def test_everything_wrong_is_told_at_once() -> None:
    options = tenant(
        name="Acme", quota={"cpu": "x", "gpu": 1}, peers=["B"], members=[{"name": "system:x", "role": "god"}]
    )
    with pytest.raises(Invalid) as caught:
        parse("tenant", options)
    named = {finding.where for finding in caught.value.findings}
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
    space = {"default": "10Gi", "defaultRequest": "0"}
    names = {*limits, *space}
    both = {
        name: {**limits.get(name, {}), **({"ephemeral-storage": space[name]} if name in space else {})}
        for name in names
    }
    assert wanted.limits == both
    ranges = [entry["spec"] for entry in objects(wanted, []) if entry["kind"] == "LimitRange"]
    assert ranges == [{"limits": [{"type": "Container", **both}]}]


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({"default": "2Gi"}, {"default": "2Gi", "defaultRequest": "0"}),
        ({"max": "2Gi"}, {"default": "2Gi", "defaultRequest": "0", "max": "2Gi"}),
        ({"min": "20Gi"}, {"default": "20Gi", "defaultRequest": "20Gi", "min": "20Gi"}),
        ({"default_request": "1Gi"}, {"default": "10Gi", "defaultRequest": "1Gi"}),
    ],
)
def test_space_on_the_disk_of_a_node_is_bounded(given: dict[str, str], limits: dict[str, str]) -> None:
    options = {option: {"ephemeral_storage": text} for option, text in given.items()}
    found = tenant_of(parse("tenant", tenant(limits=options))).limits
    assert found == {name: {"ephemeral-storage": text} for name, text in limits.items()}


def hard_of(**options: Any) -> dict[str, str]:
    rendered = objects(tenant_of(parse("tenant", tenant(**options))), [])
    (quota,) = [entry["spec"]["hard"] for entry in rendered if entry["kind"] == "ResourceQuota"]
    found: dict[str, str] = quota
    return found


def test_every_kind_that_members_can_make_is_counted() -> None:
    hard = hard_of()
    for role, rules in RULES.items():
        for rule in rules:
            for group in rule["apiGroups"]:
                for name in rule["resources"]:
                    if "create" in rule["verbs"] and "/" not in name:
                        kind = f"{name}.{group}" if group else name
                        assert int(hard[f"count/{kind}"]) > 0, (role, kind)
    assert {"services.nodeports", "services.loadbalancers"} < set(hard) and hard["services.nodeports"] == "0"
    assert hard["services.loadbalancers"] == "0"
    assert {f"count/{kind}" for kind in DERIVED} < set(hard)


def test_a_kind_that_a_role_gets_is_counted_at_once() -> None:
    granted = {"owner": [{"apiGroups": ["example.org"], "resources": ["wells", "wells/status"], "verbs": ["create"]}]}
    assert counted(granted) == sorted({"wells.example.org", *DERIVED})
    assert "wells.example.org" not in counted({"owner": [{**granted["owner"][0], "verbs": ["update", "delete"]}]})


def test_one_tenant_does_not_fill_the_store() -> None:
    hard = hard_of()
    objects_together = sum(int(text) for name, text in hard.items() if name.startswith("count/"))
    assert objects_together * 1.5 / 1024 < 7
    assert {name for name in tenant_quota.DEFAULTS if f"count/{name}" not in hard} == set()
    # 200 apps with ten releases each and their environments.
    assert int(hard["count/secrets"]) >= 200 * 11
    assert int(hard["count/deployments.apps"]) >= 200 and int(hard["count/replicasets.apps"]) >= 200 * 3


def test_numbers_of_objects_are_changed() -> None:
    hard = hard_of(objects={"Deployment": 7, "ingresses": "8", "leases.coordination.k8s.io": 0})
    assert hard["count/deployments.apps"] == "7" and hard["count/ingresses.networking.k8s.io"] == "8"
    assert hard["count/leases.coordination.k8s.io"] == "0"
    given = hard_of(quota={"secrets": 9000, "pods": 1000, "node_ports": 2})
    assert given["secrets"] == "9000" and "count/secrets" not in given
    assert given["pods"] == "1000" and int(given["count/pods"]) > 1000
    assert (given["services.nodeports"], given["services.loadbalancers"]) == ("2", "0")
    assert hard_of(quota={"secrets": 9000}, objects={"secrets": 50})["count/secrets"] == "50"


def test_nobody_in_a_tenant_writes_what_reaches_beyond_it() -> None:
    for rules in RULES.values():
        for rule in rules:
            if {"traefik.io", "rbac.authorization.k8s.io"} & set(rule["apiGroups"]):
                assert not {"create", "update", "patch", "bind", "escalate", "*"} & set(rule["verbs"])


def test_all_requests_of_a_tenant_are_one_flow() -> None:
    members = [
        {"name": "ann", "role": "owner"},
        {"name": "ops", "role": "viewer", "kind": "group"},
        {"name": "ci", "role": "developer", "kind": "service_account"},
    ]
    rendered = objects(tenant_of(parse("tenant", tenant(members=members))), [])
    (flow,) = [entry for entry in rendered if entry["kind"] == "FlowSchema"]
    accounts, people = flow["spec"]["rules"]
    assert "distinguisherMethod" not in flow["spec"]
    assert accounts["subjects"] == [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "acme", "name": "*"}}]
    assert people["subjects"] == [
        {"kind": "Group", "group": {"name": "ops"}},
        {"kind": "User", "user": {"name": "ann"}},
    ]
    # A member of two tenants is not held up in one by a flood in the other.
    assert [rule["namespaces"] for rule in people["resourceRules"]] == [["acme"]] and "nonResourceRules" not in people


@pytest.mark.parametrize(
    ("domain", "other", "covered"),
    [
        ("a.example", "a.example", True),
        ("*.example", "a.example", True),
        ("*.example", "b.a.example", True),
        ("*.example", "*.a.example", True),
        ("*.example", "*.example", True),
        ("*.example", "example", False),
        ("*.example", "xexample", False),
        ("*.a.example", "*.example", False),
        ("a.example", "*.example", False),
        ("a.example", "b.a.example", False),
    ],
)
def test_which_domains_cover_others(domain: str, other: str, covered: bool) -> None:
    assert covers(domain, other) == covered
    space = {"metadata": {"name": "other", "annotations": {"cloudbang.platform/domains": other}}}
    findings = domain_findings("acme", ["free.example.net", domain], [space])
    taken = covered or covers(other, domain)
    assert [finding.where for finding in findings] == (["domains[1]"] if taken else [])
    assert not taken or (f"tenant other has {other}" in findings[0].found and domain in findings[0].found)
    assert domain_findings("other", [domain], [space]) == []


@pytest.mark.parametrize(
    ("tenants", "wanted"),
    [
        (["acme", "b"], {}),
        (["acme", "acme-staging"], {"acme": ["staging-"]}),
        (["acme", "acmestaging"], {}),
        (["a", "a-b", "a-b-c"], {"a": ["b-", "b-c-"], "a-b": ["c-"]}),
    ],
)
def test_names_that_the_gateway_would_take_for_those_of_others(tenants: list[str], wanted: dict[str, Any]) -> None:
    assert {name: prefixes for name, prefixes in reserved(tenants).items() if prefixes} == wanted


def test_which_names_begin_with_a_reserved_one() -> None:
    names = ["staging", "staging-shop", "stagingshop", "stag", "shop-staging-"]
    assert beginning(names, ["staging-"]) == ["staging", "staging-shop"]
    assert beginning(["staging-shop"], []) == []


# A status, the API's message, and what of the advice is in the answer
REFUSALS = [
    (403, 'User "d" cannot patch resource "ingressroutes" in API group "traefik.io" in the namespace "a"', "app_route"),
    (403, 'User "d" cannot delete resource "ingressroutes" in API group "traefik.io" in the namespace "a"', "role"),
    (403, 'User "d" cannot create resource "rolebindings" in API group "x.io" in the namespace "a"', "role in this"),
    (403, 'User "d" cannot patch resource "namespaces" in API group "" in the namespace "a"', "create or change the"),
    (403, 'User "d" cannot list resource "nodes" in API group "" at the cluster scope', "of an administrator"),
    (403, "exceeded quota: cloudbang-tenant, requested: pods=1", "quota and objects of the tenant"),
    (
        403,
        "ValidatingAdmissionPolicy 'x' denied request: annotation cloudbang.platform/domains of the",
        "domains of the",
    ),
    (422, "denied request: the annotation cloudbang.platform/priority-classes of", "option priority_classes of the"),
]


@pytest.mark.parametrize(("status", "message", "text"), REFUSALS)
def test_a_refusal_says_what_to_ask_for(status: int, message: str, text: str) -> None:
    assert text in advice(status, message) and advice(status, message).startswith("; wanted: ")
    assert advice(404, message) == "" and advice(409, message) == ""


@pytest.mark.parametrize(
    "message",
    [
        "spec.ports: Required value",
        "exceeded quota: critical-pods",
        "ValidatingAdmissionPolicy 'x' denied request: found a; wanted b; ask c",
    ],
)
def test_a_refusal_about_something_else_is_left_as_it_is(message: str) -> None:
    assert advice(422, message) == "" and advice(403, message) == ""


def binding(name: str, role: str, kind: str = "ClusterRole", **subject: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "acme"},
        "roleRef": {"kind": kind, "name": role},
        "subjects": [{"kind": "User", "name": "eve", **subject}],
    }


def test_rights_beside_the_members_are_findings() -> None:
    own: dict[str, list[dict[str, Any]]] = {
        kind: [] for kind in ("ResourceQuota", "LimitRange", "NetworkPolicy", "ServiceAccount", "app", "Pod")
    }
    own["RoleBinding"] = [binding("mine", "cloudbang:tenant-owner"), binding("view", "view")]
    own["Role"] = [{"metadata": {"name": "all", "namespace": "acme"}}]
    own["Secret"] = [{"metadata": {"name": "forever", "namespace": "acme"}}]
    shown = describe({"metadata": {"name": "acme", "labels": {}}}, own, None, None)
    assert shown["problems"] == [
        "members: found RoleBinding mine, which makes User eve a member, wanted only members of the task; "
        "run the tenant's task again",
        "RoleBinding view gives ClusterRole view to User eve, member or not; delete it if nobody needs it",
        "Role all was not created by the module tenant; delete it if nobody needs it",
        "Secret forever has a token of a service account that does not expire; delete it, and use tenant_kubeconfig "
        "instead",
    ]
    assert shown["members"] == []


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
    warnings: list[str] = []
    assert gateways_of(nodes, warnings.append) == ["10.0.0.31/32", "10.244.7.0/32", "fd00::31/128"]
    assert warnings == []


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "::/0",
        "10.0.0.31/32",
        "lb1",
        "",
        "10.0.0",
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        "\x1b[2J",
    ],
)
def test_a_node_that_lies_about_its_address_lets_nobody_in(address: str) -> None:
    """Its kubelet writes them, and breaks no task by them either."""
    for note in ({}, {"projectcalico.org/IPv4VXLANTunnelAddr": address}):
        lying = {
            "metadata": {"name": "lb1", "annotations": note},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.32" if note else address}]},
        }
        other = {"metadata": {"name": "lb2"}, "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.31"}]}}
        warnings: list[str] = []
        assert gateways_of([lying, other], warnings.append) == ["10.0.0.31/32", *(["10.0.0.32/32"] if note else [])]
        assert [text.startswith("node lb1: found the address ") for text in warnings] == ([True] if address else [])


def pod(app: str, *requests: dict[str, str], phase: str = "Running") -> dict[str, Any]:
    containers = [{"name": f"c{number}", "resources": {"requests": entry}} for number, entry in enumerate(requests)]
    return {
        "metadata": {"labels": {"cloudbang.platform/app": app}},
        "spec": {"containers": [*containers, {"name": "bare"}]},
        "status": {"phase": phase},
    }


def test_usage_is_what_running_pods_request() -> None:
    own: dict[str, list[dict[str, Any]]] = {kind: [] for kind in ("ResourceQuota", "LimitRange", "NetworkPolicy")}
    own |= {"RoleBinding": [], "ServiceAccount": [], "Role": [], "Secret": []}
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
    compare(documented(module), arguments(module), "")
