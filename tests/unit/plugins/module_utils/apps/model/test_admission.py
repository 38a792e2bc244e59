# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of admission policies: it is whole, each name stands for something, and what is bound exists."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import (
    admission,
    tenant_annotations,
    tenant_objects,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse

REGISTRY = "registry.example.org:5000"
POLICIES = admission.policies(REGISTRY, ["shared/"])
MANIFESTS = admission.manifests(REGISTRY, ["shared/"])
VALIDATING = [entry for entry in MANIFESTS if entry["kind"] == "ValidatingAdmissionPolicy"]
# What each verb of RBAC that is no question is for admission.
OPERATIONS = {
    "create": "CREATE",
    "update": "UPDATE",
    "patch": "UPDATE",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}
QUESTIONS = {"get", "list", "watch"}
# Requests of members' roles that no policy is about, for they have no content, or none that reaches beyond the tenant:
# numbers, connections, and the end of objects. tests/api/test_admission.py says why of each, and tries it.
UNBOUND = {
    **{("", name): {"CREATE", "UPDATE", "DELETE"} for name in ("configmaps", "serviceaccounts")},
    **{("", name): {"CREATE"} for name in ("pods/attach", "pods/exec", "pods/portforward", "serviceaccounts/token")},
    **{
        ("", name): {"DELETE"}
        for name in ("persistentvolumeclaims", "podtemplates", "replicationcontrollers", "secrets", "services")
    },
    **{("apps", name): {"DELETE"} for name in ("daemonsets", "deployments", "replicasets", "statefulsets")},
    **{
        ("apps", f"{name}/scale"): {"CREATE", "UPDATE", "DELETE"}
        for name in ("deployments", "replicasets", "statefulsets")
    },
    ("autoscaling", "horizontalpodautoscalers"): {"CREATE", "UPDATE", "DELETE"},
    ("batch", "cronjobs"): {"DELETE"},
    ("batch", "jobs"): {"DELETE"},
    ("coordination.k8s.io", "leases"): {"CREATE", "UPDATE", "DELETE"},
    ("networking.k8s.io", "ingresses"): {"DELETE"},
    ("policy", "poddisruptionbudgets"): {"DELETE"},
    **{
        ("traefik.io", name): {"DELETE"}
        for name in ("ingressroutes", "ingressroutetcps", "ingressrouteudps", "middlewares", "traefikservices")
    },
}


def expressions(entry: dict[str, Any]) -> list[str]:
    spec = entry["spec"]
    found = [one["expression"] for one in [*spec.get("matchConditions", []), *spec.get("variables", [])]]
    for one in spec.get("validations", []):
        found += [one["expression"], one["messageExpression"]]
    return found + [one["jsonPatch"]["expression"] for one in spec.get("mutations", [])]


def test_policies_come_before_what_binds_them_and_each_is_bound() -> None:
    kinds = [entry["kind"] for entry in MANIFESTS]
    first = min(number for number, kind in enumerate(kinds) if kind.endswith("Binding"))
    assert all(kind.endswith("Policy") for kind in kinds[:first])
    assert all(kind.endswith("PolicyBinding") for kind in kinds[first:])
    made = {(entry["kind"], entry["metadata"]["name"]) for entry in MANIFESTS[:first]}
    bound = {(entry["kind"].removesuffix("Binding"), entry["spec"]["policyName"]) for entry in MANIFESTS[first:]}
    assert made == bound and len(made) == first
    assert len(MANIFESTS) == 2 * first


def test_they_hold_in_every_namespace_of_a_tenant_and_refuse_what_they_cannot_judge() -> None:
    selector = {"matchExpressions": [{"key": "cloudbang.platform/tenant", "operator": "Exists"}]}
    for entry in MANIFESTS:
        assert entry["apiVersion"] == "admissionregistration.k8s.io/v1"
        spec = entry["spec"]
        if entry["kind"].endswith("Policy"):
            assert spec["failurePolicy"] == "Fail"
            assert "namespaceSelector" not in spec["matchConstraints"]
            assert "excludeResourceRules" not in spec["matchConstraints"]
        else:
            assert spec["matchResources"] == {"namespaceSelector": selector}
        if entry["kind"] == "ValidatingAdmissionPolicyBinding":
            assert "Deny" in spec["validationActions"]


@pytest.mark.parametrize("entry", VALIDATING, ids=[entry["metadata"]["name"] for entry in VALIDATING])
def test_variables_are_there_before_they_are_used_and_all_are_used(entry: dict[str, Any]) -> None:
    known: set[str] = set()
    used: set[str] = set()
    for variable in entry["spec"]["variables"]:
        wanted = set(re.findall(r"variables\.(\w+)", variable["expression"]))
        assert wanted <= known, variable["name"]
        used |= wanted
        known.add(variable["name"])
    for validation in entry["spec"]["validations"]:
        for text in (validation["expression"], validation["messageExpression"]):
            used |= set(re.findall(r"variables\.(\w+)", text))
    assert used == known


@pytest.mark.parametrize("entry", MANIFESTS, ids=[f"{one['kind']} {one['metadata']['name']}" for one in MANIFESTS])
def test_nothing_in_them_is_a_template_and_parentheses_match(entry: dict[str, Any]) -> None:
    """The role renders them by Jinja."""
    for text in expressions(entry):
        assert not re.search(r"\{[{%#]", text), text
        assert "\n" not in text
        plain = re.sub(r'"(\\.|[^"\\])*"|\'(\\.|[^\'\\])*\'', "", text)
        for left, right in ("()", "[]", "{}"):
            assert plain.count(left) == plain.count(right), text


def test_every_annotation_of_tenants_is_read() -> None:
    text = str(MANIFESTS)
    names = {value for name, value in vars(tenant_annotations).items() if name.isupper() and name != "PREFIX"}
    assert len(names) == 5 and all(name in text for name in names)


def test_all_that_members_write_is_bound_or_known_to_be_harmless() -> None:
    bound = {
        (resources.group, name, operation)
        for policy in POLICIES
        for resources in policy.resources
        for name in resources.names
        for operation in resources.operations
    }
    written = {
        (group, name, OPERATIONS[verb])
        for rules in tenant_objects.RULES.values()
        for rule in rules
        for verb in set(rule["verbs"]) - QUESTIONS
        for group in rule["apiGroups"]
        for name in rule["resources"]
    }
    harmless = {(group, name, operation) for (group, name), operations in UNBOUND.items() for operation in operations}
    free = {
        (group, name, operation)
        for group, name, operation in written
        if not {name, "*"} & {theirs for other, theirs, when in bound if (other, when) == (group, operation)}
    }
    assert free == harmless


def test_a_pod_may_take_as_long_to_end_as_an_app_can_say() -> None:
    app = {"name": "shop", "tenant": "acme", "image": "x/y:1", "processes": [{"name": "web", "ports": [80]}]}
    longest = {"grace": 86400, "drain": 3600}
    parse("app", {**app, **longest})
    for option, value in longest.items():
        with pytest.raises(Invalid):
            parse("app", {**app, option: value + 1})
    assert sum(longest.values()) == admission.GRACE_SECONDS


def test_pods_and_all_templates_have_the_same_rules() -> None:
    made = admission.pod_policies(REGISTRY, ["shared/"])
    assert len({tuple(rule.name for rule in policy.rules) for policy in made}) == 1
    assert sorted(name for policy in made for resources in policy.resources for name in resources.names) == [
        "cronjobs",
        "daemonsets",
        "deployments",
        "jobs",
        "pods",
        "pods/ephemeralcontainers",
        "podtemplates",
        "replicasets",
        "replicationcontrollers",
        "statefulsets",
    ]


@pytest.mark.parametrize("entry", ["", "/", "//", "a,b", " shared/", "shared/ "])
def test_a_shared_prefix_that_stands_for_everything_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="shared images: found"):
        admission.manifests(REGISTRY, [entry])


def test_without_shared_images_a_tenant_has_its_own() -> None:
    assert '["shared"]' in str(MANIFESTS) and '["shared"]' not in str(admission.manifests(REGISTRY, []))


def test_texts_of_options_do_not_end_an_expression() -> None:
    assert admission.text('a"] + ["b') == r'"a\"] + [\"b"'
