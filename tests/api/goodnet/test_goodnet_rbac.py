# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gives the agents all rights in the cluster that they need, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from goodnet.cluster import client, objects, tenants, watches

from ..conftest import Api
from .conftest import ROOT, eventually

TEMPLATES = ROOT / "roles" / "goodnet" / "templates"
PROVIDER_NETWORK = "203.0.113.0/24"
VALUES: dict[str, Any] = {"cloudbang_pod_cidr": "10.244.0.0/16", "cloudbang_service_cidr": "10.0.0.0/16"}
# The hosts can be in the provider network.
VALUES["_goodnet_machines"] = ["192.0.2.11", "203.0.113.11"]
HOST, EDGE = ("cloudbang:goodnet",), ("cloudbang:goodnet", "cloudbang:goodnet-edge")
MANAGER = ("cloudbang:goodnet", "cloudbang:goodnet-manager")
UNDERLAY = objects.ANNOTATION_UNDERLAY
NODES = "/api/v1/nodes"
OWN = objects.NAMESPACE
CONFIGMAP = f"/api/v1/namespaces/{OWN}/configmaps/{objects.TENANTS}"


def place(made: objects.Object) -> str:
    """Return the path of the list that contains an object."""
    version, namespace = made["apiVersion"], made["metadata"].get("namespace")
    where = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    plural = made["kind"].lower() + "s"
    if plural.endswith("policys"):
        plural = plural[:-2] + "ies"
    return f"{where}{f'/namespaces/{namespace}' if namespace else ''}/{plural}"


def rendered(name: str, **values: str) -> list[objects.Object]:
    """Return the objects of a template of the role, except the namespace."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string((TEMPLATES / name).read_text("utf-8")).render({**VALUES, **values})
    return [one for one in yaml.safe_load_all(text) if one and one["kind"] != "Namespace"]


@pytest.fixture
def rbac(agent_api: client.Api) -> Iterator[None]:
    """The role's objects, in an existing namespace."""
    made = rendered("rbac.yaml.j2")
    for one in made:
        agent_api.request("POST", place(one), body=one)
    yield
    for one in made:
        agent_api.request("DELETE", f"{place(one)}/{one['metadata']['name']}")


def allowed(api: client.Api, groups: tuple[str, ...], verb: str, what: str, namespace: str = "") -> bool:
    """Ask the API's authorizer. what: group/resource/subresource:name, without the empty parts."""
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


def test_who_may_do_what(agent_api: client.Api, rbac: None) -> None:
    both = [
        *((verb, what, "") for verb in ("list", "watch") for what in ("/nodes", "/namespaces", "/pods")),
        ("list", "networking.k8s.io/networkpolicies", ""),
        ("get", "/pods:a", "shop"),
        ("watch", "/services:kubernetes", "default"),
        ("list", "discovery.k8s.io/endpointslices:kubernetes", "default"),
        ("patch", "/nodes:one", ""),
        ("create", "/events", "shop"),
        ("watch", f"/configmaps:{objects.TENANTS}", OWN),
        ("watch", f"coordination.k8s.io/leases:{objects.PROVIDER}", OWN),
    ]
    edge = [
        ("watch", "/services", ""),
        ("patch", "/services/status:web", "shop"),
        ("list", "discovery.k8s.io/endpointslices", "shop"),
        ("patch", f"coordination.k8s.io/leases:{objects.PROVIDER}", OWN),
        ("create", "coordination.k8s.io/leases", OWN),
    ]
    manager = [("update", f"/configmaps:{objects.TENANTS}", OWN), ("create", "/configmaps", OWN)]
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
        ("delete", f"/configmaps:{objects.TENANTS}", OWN),
        ("update", "/configmaps:goodnet-settings", OWN),
        ("get", "/configmaps:kube-root-ca.crt", "shop"),
        ("patch", "coordination.k8s.io/leases:one", "kube-node-lease"),
    ]
    for groups, may, may_not in (
        (HOST, both, [*edge, *manager, *nobody]),
        (EDGE, [*both, *edge], [*manager, *nobody]),
        (MANAGER, [*both, *manager], [*edge, *nobody]),
    ):
        assert [one for one in may if not allowed(agent_api, groups, *one)] == []
        assert [one for one in may_not if allowed(agent_api, groups, *one)] == []


def as_agent(api: Api, groups: tuple[str, ...], node: str = "one") -> client.Api:
    """Return the client of a node's agent."""
    certificate, key = api.authority.issue(f"cloudbang:goodnet:{node}", *groups)
    name = f"{groups[-1].replace(':', '-')}-{node}.conf"
    return client.Api(api.write_kubeconfig(name, api.authority.pem, certificate, key))


def as_kubelet(api: Api, node: str = "one") -> client.Api:
    """Return the client of a node's kubelet."""
    certificate, key = api.authority.issue(f"system:node:{node}", "system:nodes")
    return client.Api(api.write_kubeconfig(f"goodnet-kubelet-{node}.conf", api.authority.pem, certificate, key))


def test_a_host_sees_the_cluster_and_a_manager_numbers_its_tenants(
    api: Api, agent_api: client.Api, rbac: None, tmp_path: Path
) -> None:
    seen = watches.Cluster(as_agent(api, HOST), "one", tmp_path / "cluster.json", lambda: None)
    seen.start()
    try:
        assert seen.wait(15), seen.in_contact
        assert "kube-system" in seen.view().namespaces
    finally:
        seen.stop()
    own = as_agent(api, MANAGER)
    assert tenants.allocate(own, ["shop"], (1, 9)) == {"shop": '{"vni": 1}'}
    assert tenants.release(own, ["shop"], frozenset()) == ["shop"]
    # Also after somebody removed the ConfigMap.
    agent_api.request("DELETE", CONFIGMAP)
    assert tenants.allocate(own, ["shop"], (1, 9)) == {"shop": '{"vni": 1}'}


SERVICES = "/api/v1/namespaces/default/services"
CONFIGMAPS = f"/api/v1/namespaces/{OWN}/configmaps"
PODS_OF = {"one": "10.244.1.0/24", "two": "10.244.2.0/24"}
ADDRESSES = {"one": "192.0.2.1", "two": "192.0.2.2"}
# What the authorizer for nodes gives kubelets.
KUBELETS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "test-goodnet-kubelets"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}],
}


def refused(kube: client.Api, method: str, where: str, body: Any = None, query: dict[str, str] | None = None) -> str:
    """Return the message with which a request is refused, an empty text when it is not."""
    content_type = client.MERGE if method == "PATCH" else "application/json"
    try:
        kube.request(method, where, query, body, content_type=content_type)
    except client.ApiError as error:
        # 404 or 409 would not show anything about rights.
        assert error.status in (403, 422), error
        return str(error)
    return ""


@pytest.fixture
def policies(api: Api, agent_api: client.Api, rbac: None) -> Iterator[Callable[[str], None]]:
    """Two nodes and a Service. A call of the fixture installs the role's policies for a provider network."""
    made: list[objects.Object] = []

    def remove(path: str) -> None:
        try:
            agent_api.request("DELETE", path)
        except client.ApiError as error:
            assert error.status == 404

    def install(provider_network: str = PROVIDER_NETWORK) -> None:
        for one in (*rendered("admission.yaml.j2", goodnet_provider_network=provider_network), KUBELETS):
            agent_api.request("POST", place(one), body=one)
            made.append(one)
        label = {"metadata": {"labels": {"a": "b"}}}
        # The API server takes a moment.
        for user, method, where, body in (
            (as_agent(api, HOST), "PATCH", f"{NODES}/one", label),
            (as_agent(api, HOST), "PATCH", f"{NODES}/one", annotated(**{UNDERLAY: ADDRESSES["two"]})),
            (as_kubelet(api), "PATCH", f"{NODES}/one", annotated(**{UNDERLAY: "198.51.100.1"})),
            (as_agent(api, EDGE), "PATCH", f"{SERVICES}/web/status", label),
            (as_agent(api, MANAGER), "POST", CONFIGMAPS, {"metadata": {"name": "other"}}),
        ):
            assert eventually(lambda u=user, m=method, w=where, b=body: bool(refused(u, m, w, b, {"dryRun": "All"})))

    objects = [f"{NODES}/one", f"{NODES}/two", f"{SERVICES}/web"]
    # Nodes of other tests have addresses, too.
    others = [f"{NODES}/{one['metadata']['name']}" for one in agent_api.request("GET", NODES)["items"]]
    for path in {*objects, *others}:
        remove(path)
    for node, pods in PODS_OF.items():
        body = {
            "metadata": {"name": node, "annotations": {"other": "kept"}},
            "spec": {"podCIDR": pods, "podCIDRs": [pods]},
        }
        agent_api.request("POST", NODES, body=body)
        internal = {"status": {"addresses": [{"type": "InternalIP", "address": ADDRESSES[node]}]}}
        agent_api.request("PATCH", f"{NODES}/{node}/status", body=internal, content_type=client.MERGE)
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
    agent_api.request("POST", SERVICES, body={"metadata": {"name": "web"}, "spec": spec})
    yield install
    for path in (*(f"{place(one)}/{one['metadata']['name']}" for one in made), *objects):
        remove(path)


def annotated(**annotations: str | None) -> objects.Object:
    return {"metadata": {"annotations": annotations}}


def test_an_agent_writes_the_address_of_its_own_tunnels_only(
    api: Api, agent_api: client.Api, policies: Callable[[], None]
) -> None:
    policies()
    evil = {"key": "evil", "effect": "NoExecute"}
    for groups in (HOST, EDGE, MANAGER):
        agent = as_agent(api, groups)
        for node, body, words in (
            # Annotations that would redirect the tunnels of another host, and a taint that would evict its pods.
            ("two", annotated(**{UNDERLAY: "198.51.100.1"}), "its own Node only"),
            ("two", annotated(**{UNDERLAY: None}), "its own Node only"),
            ("two", {"spec": {"taints": [evil]}}, "its own Node only"),
            ("one", {"metadata": {"labels": {"node-role.kubernetes.io/loadbalancer": ""}}}, "of a Node only"),
            ("one", {"spec": {"taints": [evil]}}, "of a Node only"),
            ("one", {"spec": {"unschedulable": True}}, "of a Node only"),
            ("one", {"metadata": {"finalizers": ["example.org/never"]}}, "of a Node only"),
            ("one", annotated(other="changed"), "of a Node only"),
            ("one", annotated(other=None), "of a Node only"),
            ("one", annotated(**{"projectcalico.org/IPv4Address": "198.51.100.1"}), "of a Node only"),
            *(
                ("one", annotated(**{UNDERLAY: wrong}), "wanted an IPv4 address")
                for wrong in (
                    "",
                    "host",
                    "10.244.2.7",
                    "10.0.0.1",
                    "127.0.0.1",
                    "224.0.0.1",
                    "0.0.0.0",
                    "fd00::1",
                    "::1",
                )
            ),
        ):
            assert words in refused(agent, "PATCH", f"{NODES}/{node}", body), (node, body)
        assert "cannot" in refused(agent, "POST", NODES, {"metadata": {"name": "three"}})
    agent = as_agent(api, HOST)
    for value in ("198.51.100.1", "198.51.100.2", None):
        assert not refused(agent, "PATCH", f"{NODES}/one", annotated(**{UNDERLAY: value}))
    assert agent_api.request("GET", f"{NODES}/one")["metadata"]["annotations"]["other"] == "kept"


def test_an_agent_takes_no_address_of_another_node(
    api: Api, agent_api: client.Api, policies: Callable[[], None]
) -> None:
    policies()
    one, two = as_agent(api, HOST), as_agent(api, HOST, "two")
    taken = annotated(**{UNDERLAY: "198.51.100.1"})
    assert not refused(one, "PATCH", f"{NODES}/one", taken)
    # The API server learns of it a moment later.
    assert eventually(lambda: bool(refused(two, "PATCH", f"{NODES}/two", taken, {"dryRun": "All"})))
    for address in ("198.51.100.1", ADDRESSES["one"]):
        body = annotated(**{UNDERLAY: address})
        assert f"{address} is an address of node one" in refused(two, "PATCH", f"{NODES}/two", body)
    # Those of the Node itself.
    for address in ("198.51.100.1", ADDRESSES["one"]):
        assert not refused(one, "PATCH", f"{NODES}/one", annotated(**{UNDERLAY: address}))
    assert eventually(lambda: not refused(two, "PATCH", f"{NODES}/two", taken, {"dryRun": "All"}))


def test_a_kubelet_does_not_write_the_address_of_tunnels(
    api: Api, agent_api: client.Api, policies: Callable[[], None]
) -> None:
    policies()
    kubelet, words = as_kubelet(api), f"kubelets may not write the annotation {UNDERLAY}"
    both = (f"{NODES}/one", f"{NODES}/one/status")
    for path in both:
        assert words in refused(kubelet, "PATCH", path, annotated(**{UNDERLAY: "224.0.0.1"}))
    assert not refused(as_agent(api, HOST), "PATCH", f"{NODES}/one", annotated(**{UNDERLAY: "198.51.100.1"}))
    for path in both:
        for value in ("192.0.2.1", None):
            assert words in refused(kubelet, "PATCH", path, annotated(**{UNDERLAY: value})), (path, value)
        assert not refused(kubelet, "PATCH", path, annotated(other=f"of {path}"))
    assert not refused(kubelet, "PATCH", both[1], {"status": {"phase": "Running"}})
    # It registers as it did the first time, and brings no address of tunnels.
    agent_api.request("DELETE", both[0])
    assert words in refused(
        kubelet, "POST", NODES, {"metadata": {"name": "one", **annotated(**{UNDERLAY: "198.51.100.1"})["metadata"]}}
    )
    assert not refused(kubelet, "POST", NODES, {"metadata": {"name": "one", **annotated(other="kept")["metadata"]}})


def status(**ingress: str) -> objects.Object:
    return {"status": {"loadBalancer": {"ingress": [ingress]}}}


def test_an_edge_publishes_addresses_of_the_provider_network_only(
    api: Api, agent_api: client.Api, policies: Callable[[], None]
) -> None:
    """kube-proxy of every host sends packets for such an address to the pods of the Service."""
    policies()
    edge, web = as_agent(api, EDGE), f"{SERVICES}/web/status"
    assert not refused(edge, "PATCH", web, status(ip="203.0.113.9"))
    for body, words in (
        (status(ip="192.0.2.1"), "of the provider network 203.0.113.0/24"),
        (status(ip="10.0.0.1"), "of the provider network"),
        (status(ip="203.0.113.11"), "and of no host"),
        (status(hostname="example.org"), "of the provider network"),
        ({"metadata": {"labels": {"a": "b"}}}, "of type LoadBalancer"),
        (annotated(a="b"), "of type LoadBalancer"),
        ({"status": {"conditions": []}, "metadata": {"finalizers": ["example.org/never"]}}, "of type LoadBalancer"),
    ):
        assert words in refused(edge, "PATCH", web, body), body
    assert "of type LoadBalancer" in refused(
        edge, "PATCH", f"{SERVICES}/kubernetes/status", {"metadata": {"labels": {"a": "b"}}}
    )
    assert "cannot" in refused(as_agent(api, HOST), "PATCH", web, status(ip="203.0.113.9"))
    agent_api.request("DELETE", f"{SERVICES}/web")
    spec = {"type": "LoadBalancer", "loadBalancerClass": "example.org/other", "ports": [{"port": 80}]}
    agent_api.request("POST", SERVICES, body={"metadata": {"name": "web"}, "spec": spec})
    assert "of type LoadBalancer" in refused(edge, "PATCH", web, status(ip="203.0.113.9"))


def test_without_provider_network_no_address_is_published(api: Api, policies: Callable[[str], None]) -> None:
    policies("")
    edge, where = as_agent(api, EDGE), f"{SERVICES}/web/status"
    # Wait until these policies have replaced those of an earlier test.
    assert eventually(
        lambda: "(there is none)" in refused(edge, "PATCH", where, status(ip="192.0.2.1"), {"dryRun": "All"})
    )


def test_numbers_are_given_once_and_external_addresses_by_administrators(
    api: Api, agent_api: client.Api, policies: Callable[[], None]
) -> None:
    policies()
    given = {"acme": '{"vni": 7, "external": "203.0.113.9"}', "shop": '{"vni": 8}'}

    def change(kube: client.Api, **data: str | None) -> str:
        found = agent_api.request("GET", CONFIGMAP)
        now = {**found["data"], **data}
        return refused(kube, "PUT", CONFIGMAP, {**found, "data": {key: value for key, value in now.items() if value}})

    agent_api.request("PATCH", CONFIGMAP, body={"data": given}, content_type=client.MERGE)
    manager = as_agent(api, MANAGER)
    for data in (
        # Numbers and external addresses of other tenants, and new external addresses.
        {"shop": '{"vni": 7}'},
        {"acme": '{"vni": 8, "external": "203.0.113.9"}'},
        {"acme": '{"vni": 7}'},
        {"acme": None},
        {"shop": '{"vni": 8, "external": "203.0.113.9"}'},
        {"evil": '{"vni": 9, "external": "203.0.113.10"}'},
        {"evil": '{"vni": 0}'},
        {"evil": "nothing"},
    ):
        assert "may give numbers" in change(manager, **data), data
    for node in ("one", "two"):
        for groups in (HOST, EDGE):
            assert "cannot" in change(as_agent(api, groups, node), evil='{"vni": 9}')
    assert "goodnet-tenants only" in refused(manager, "POST", CONFIGMAPS, {"metadata": {"name": "goodnet-settings"}})
    assert tenants.allocate(manager, ["fresh"], (1, 9))["fresh"] == json.dumps({"vni": 1})
    assert tenants.release(manager, ["fresh", "shop"], frozenset()) == ["fresh", "shop"]
    assert agent_api.request("GET", CONFIGMAP)["data"] == {"acme": given["acme"]}
