"""What the role lets the agents do in the cluster: all that they need, and nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
import yaml
from goodnet import cluster, tenants

from ..conftest import Api
from .conftest import ROOT

TEMPLATE = ROOT / "roles" / "goodnet" / "templates" / "rbac.yaml.j2"
HOST, EDGE = ("cloudbang:goodnet",), ("cloudbang:goodnet", "cloudbang:goodnet-edge")
OWN = cluster.NAMESPACE
CONFIGMAP = f"/api/v1/namespaces/{OWN}/configmaps/{cluster.TENANTS}"


def place(made: cluster.Object) -> str:
    """Return the path of the list that an object is in."""
    version, namespace = made["apiVersion"], made["metadata"].get("namespace")
    where = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    return f"{where}{f'/namespaces/{namespace}' if namespace else ''}/{made['kind'].lower()}s"


@pytest.fixture
def rbac(agent_api: cluster.Api) -> Iterator[None]:
    """The role's objects, in a namespace that is there."""
    text = jinja2.Environment(trim_blocks=True).from_string(TEMPLATE.read_text("utf-8")).render()
    made = [one for one in yaml.safe_load_all(text) if one and one["kind"] != "Namespace"]
    for one in made:
        agent_api.request("POST", place(one), body=one)
    yield
    for one in made:
        agent_api.request("DELETE", f"{place(one)}/{one['metadata']['name']}")


def allowed(api: cluster.Api, groups: tuple[str, ...], verb: str, what: str, namespace: str = "") -> bool:
    """Ask the API's authorizer. what: group/resource/subresource:name, without what is empty."""
    path, _ignored, name = what.partition(":")
    group, resource, subresource = [*path.split("/"), ""][:3]
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name}
    spec = {
        "user": "cloudbang:goodnet:one",
        "groups": [*groups, "system:authenticated"],
        "resourceAttributes": {**attributes, "namespace": namespace},
    }
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer = api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=body)
    return bool(answer["status"]["allowed"])


def test_who_may_do_what(agent_api: cluster.Api, rbac: None) -> None:
    both = [
        *((verb, what, "") for verb in ("list", "watch") for what in ("/nodes", "/namespaces", "/pods")),
        ("list", "networking.k8s.io/networkpolicies", ""),
        ("get", "/pods:a", "shop"),
        ("watch", "/services:kubernetes", "default"),
        ("list", "discovery.k8s.io/endpointslices:kubernetes", "default"),
        ("patch", "/nodes:one", ""),
        ("create", "/events", "shop"),
        ("update", f"/configmaps:{cluster.TENANTS}", OWN),
        ("create", "/configmaps", OWN),
        ("watch", f"coordination.k8s.io/leases:{cluster.PROVIDER}", OWN),
    ]
    edge = [
        ("watch", "/services", ""),
        ("patch", "/services/status:web", "shop"),
        ("list", "discovery.k8s.io/endpointslices", "shop"),
        ("patch", f"coordination.k8s.io/leases:{cluster.PROVIDER}", OWN),
        ("create", "coordination.k8s.io/leases", OWN),
    ]
    nobody = [
        *((verb, "/secrets:token", "shop") for verb in ("get", "list", "watch")),
        *((verb, "/pods:a", "shop") for verb in ("delete", "patch", "update", "create")),
        ("create", "/pods/exec:a", "shop"),
        ("update", "/nodes:one", ""),
        ("delete", "/nodes:one", ""),
        ("patch", "/nodes/status:one", ""),
        ("patch", "/namespaces:shop", ""),
        ("patch", "/services:web", "shop"),
        ("get", "/services:web", "default"),
        ("delete", f"/configmaps:{cluster.TENANTS}", OWN),
        ("update", "/configmaps:goodnet-settings", OWN),
        ("get", "/configmaps:kube-root-ca.crt", "shop"),
        ("patch", "coordination.k8s.io/leases:one", "kube-node-lease"),
    ]
    for groups, may, may_not in ((HOST, both, [*edge, *nobody]), (EDGE, [*both, *edge], nobody)):
        assert [one for one in may if not allowed(agent_api, groups, *one)] == []
        assert [one for one in may_not if allowed(agent_api, groups, *one)] == []


def test_a_host_sees_the_cluster_and_numbers_its_tenants(
    api: Api, agent_api: cluster.Api, rbac: None, tmp_path: Path
) -> None:
    certificate, key = api.authority.issue("cloudbang:goodnet:one", *HOST)
    own = cluster.Api(api.write_kubeconfig("goodnet-host.conf", api.authority.pem, certificate, key))
    seen = cluster.Cluster(own, "one", tmp_path / "cluster.json", lambda: None)
    seen.start()
    try:
        assert seen.wait(15), seen.in_contact
        assert "kube-system" in seen.view().namespaces
    finally:
        seen.stop()
    assert tenants.allocate(own, ["shop"], (1, 9)) == {"shop": '{"vni": 1}'}
    assert tenants.release(own, ["shop"], frozenset()) == ["shop"]
    # Somebody removed it.
    agent_api.request("DELETE", CONFIGMAP)
    assert tenants.allocate(own, ["shop"], (1, 9)) == {"shop": '{"vni": 1}'}
