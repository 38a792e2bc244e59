# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies of kube_control_plane for kubelets: a kubelet can write its own Node and the status of its pods.

It cannot write anything with which an attacker on its node could redirect others. NodeRestriction, which alone prevents
little of that, is off here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client

from .conftest import Api
from .test_calico_rbac import eventually, merged, refused

TEMPLATE = Path(__file__).resolve().parents[2] / "roles" / "kube_control_plane" / "templates" / "kubelets.yaml.j2"
VALUES = {"cloudbang_pod_cidr": "10.244.0.0/16", "kube_control_plane_kubelet_labels": ["topology.example.org/rack"]}
NODES, PODS = "/api/v1/nodes", "/api/v1/namespaces/default/pods"
SYSTEM_PODS = "/api/v1/namespaces/kube-system/pods"
DRY = {"dryRun": "All"}
ADDRESSES = {"one": "192.0.2.1", "two": "192.0.2.2"}
RANGES = {"one": "10.244.1.0/24", "two": "10.244.2.0/24"}
# The labels with which a kubelet registers.
OWN_LABELS = {
    "beta.kubernetes.io/arch": "amd64",
    "beta.kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
    "kubernetes.io/os": "linux",
}
Site = tuple[client.Kube, client.Kube]


def rendered(network: str) -> list[dict[str, Any]]:
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string(TEMPLATE.read_text("utf-8")).render({**VALUES, "cloudbang_network": network})
    return [one for one in yaml.safe_load_all(text) if one]


def place(made: dict[str, Any]) -> str:
    """Return the path of an object without a namespace."""
    plural = (made["kind"].lower() + "s").replace("policys", "policies")
    return f"/apis/{made['apiVersion']}/{plural}/{made['metadata']['name']}"


def registered(name: str) -> dict[str, Any]:
    """Return a Node as its kubelet creates it."""
    addresses = [{"type": "InternalIP", "address": ADDRESSES[name]}, {"type": "Hostname", "address": name}]
    labels = {**OWN_LABELS, "kubernetes.io/hostname": name, "cloudbang.platform/cluster": "test"}
    spec = {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec, "status": {"addresses": addresses}}


def pod(name: str, host_network: bool = False, **metadata: Any) -> dict[str, Any]:
    spec = {"nodeName": "one", "hostNetwork": host_network, "containers": [{"name": "web", "image": "web"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def addresses(*found: str) -> dict[str, Any]:
    return {"status": {"podIP": found[0] if found else None, "podIPs": [{"ip": one} for one in found]}}


def gone(kube: client.Kube, *paths: str) -> None:
    for path in paths:
        try:
            kube.request("DELETE", path, {"gracePeriodSeconds": "0"})
        except client.ApiError as error:
            assert error.status == 404


def as_kubelet(api: Api, node: str) -> client.Kube:
    certificate, key = api.authority.issue(f"system:node:{node}", "system:nodes")
    path = api.write_kubeconfig(f"kubelet-{node}.conf", api.authority.pem, certificate, key)
    return client.connect({"kubeconfig": str(path)})


@pytest.fixture(scope="module", params=["calico", "goodnet"])
def installed(api: Api, request: pytest.FixtureRequest) -> Iterator[tuple[str, client.Kube, client.Kube]]:
    """The role's policies, and kubelets with the rights of any cluster with the authorizer RBAC."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "test-kubelets"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}],
    }
    made = [binding, *rendered(request.param)]
    for one in made:
        query = {"fieldManager": "cloudbang", "force": "true"}
        api.kube.request("PATCH", place(one), query, one, content_type=client.APPLY)
    kubelet = as_kubelet(api, "one")
    eventually(lambda: api.kube.request("GET", "/api/v1/namespaces/kube-system/serviceaccounts")["items"])
    start(api.kube)
    for words, method, where, body in (
        ("may not create pods", "POST", PODS, pod("probe")),
        ("of the pod network", "PATCH", f"{PODS}/web/status", addresses("192.0.2.9")),
        ("labels of Nodes", "PATCH", f"{NODES}/one", {"metadata": {"labels": {"a": "b"}}}),
    ):
        eventually(lambda k=kubelet, w=words, m=method, p=where, b=body: w in refused(k, m, p, b, DRY))
    other_range = addresses("10.244.2.9")
    eventually(
        lambda: bool(refused(kubelet, "PATCH", f"{PODS}/web/status", other_range, DRY)) == (request.param == "goodnet")
    )
    yield request.param, api.kube, kubelet
    for one in made:
        gone(api.kube, place(one))
    gone(api.kube, *(f"{PODS}/{name}" for name in ("web", "host")), *(f"{NODES}/{name}" for name in ADDRESSES))


def start(kube: client.Kube) -> None:
    """Reset the nodes and pods to their state when pods start."""
    gone(kube, *(f"{PODS}/{name}" for name in ("web", "host")), *(f"{NODES}/{name}" for name in ADDRESSES))
    for name, pods in RANGES.items():
        body = merged(registered(name), {"spec": {"podCIDR": pods, "podCIDRs": [pods]}})
        body["metadata"]["labels"]["disk"] = "ssd"
        kube.request("POST", NODES, {}, body)
    kube.request("POST", PODS, {}, pod("web", annotations={"a": "b"}))
    kube.request("POST", PODS, {}, pod("host", host_network=True))


@pytest.fixture
def site(installed: tuple[str, client.Kube, client.Kube]) -> Site:
    start(installed[1])
    return installed[1:]


def test_a_kubelet_makes_no_pods(site: Site) -> None:
    """The mirror pod would be an endpoint of the cluster's DNS."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": "one", "controller": True}
    owner["uid"] = site[0].request("GET", f"{NODES}/one")["metadata"]["uid"]
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner]}
    body = pod("dns", labels={"k8s-app": "kube-dns"}, **mirror)
    assert "may not create pods" in refused(site[1], "POST", SYSTEM_PODS, body)
    assert not refused(site[0], "POST", SYSTEM_PODS, body, DRY)


@pytest.mark.parametrize(
    ("name", "found", "words"),
    [
        # Addresses of hosts, of Services, outside of the cluster, and of another family.
        ("web", ("192.0.2.1",), "of the pod network"),
        ("web", ("192.0.2.2",), "of the pod network"),
        ("web", ("10.96.0.10",), "of the pod network"),
        ("web", ("198.51.100.1",), "of the pod network"),
        ("web", ("fd00::1",), "of the pod network"),
        ("web", ("10.244.1.9", "fd00::1"), "of the pod network"),
        # Addresses of pods of other tenants, of another host, and of a Service.
        ("host", ("10.244.1.9",), "in the host's network"),
        ("host", ("10.244.2.9",), "in the host's network"),
        ("host", ("192.0.2.2",), "one of its Node"),
        ("host", ("10.96.0.10",), "one of its Node"),
    ],
)
def test_a_kubelet_gives_its_pods_no_addresses_of_others(
    site: Site, name: str, found: tuple[str, ...], words: str
) -> None:
    assert words in refused(site[1], "PATCH", f"{PODS}/{name}/status", addresses(*found))


def test_a_pod_has_an_address_of_the_range_of_its_node(
    installed: tuple[str, client.Kube, client.Kube], site: Site
) -> None:
    """With GoodNet only: for Calico, policies of its own check the blocks of a node."""
    said = refused(site[1], "PATCH", f"{PODS}/web/status", addresses("10.244.2.9"))
    assert ("podCIDR" in said) == (installed[0] == "goodnet")
    # A recreated Node has no podCIDR yet.
    gone(site[0], f"{NODES}/one")
    site[0].request("POST", NODES, {}, registered("one"))
    if installed[0] == "goodnet":
        where = f"{PODS}/web/status"
        eventually(lambda: "podCIDR" in refused(site[1], "PATCH", where, addresses("10.244.1.9"), DRY))


def test_without_nodes_no_pod_gets_an_address(site: Site) -> None:
    gone(site[0], *(f"{NODES}/{name}" for name in ADDRESSES))
    eventually(lambda: refused(site[1], "PATCH", f"{PODS}/host/status", addresses("192.0.2.1"), DRY))


@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": {"cni.projectcalico.org/podIP": "10.244.2.9/32"}},
        {"annotations": {"cni.projectcalico.org/podIPs": "10.244.2.9/32"}},
        {"annotations": {"a": None}},
        {"finalizers": ["example.org/never"]},
    ],
)
def test_a_kubelet_writes_no_annotations_of_pods(site: Site, metadata: dict[str, Any]) -> None:
    assert "no annotations" in refused(site[1], "PATCH", f"{PODS}/web/status", {"metadata": metadata})


def test_pods_start_restart_and_end(site: Site) -> None:
    """The status that a kubelet reports."""
    admin, kubelet = site

    def write(name: str, phase: str, *found: str, **more: Any) -> None:
        body = addresses(*found)
        body["status"] |= {"phase": phase, "hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}], **more}
        # The API server takes a moment to see the Nodes that this test created.
        eventually(lambda: not refused(kubelet, "PATCH", f"{PODS}/{name}/status", body))

    ready = [{"type": "Ready", "status": "True"}]
    for name, first, second in (("web", "10.244.1.9", "10.244.1.10"), ("host", "192.0.2.1", "192.0.2.1")):
        write(name, "Pending")
        write(name, "Running", first)
        write(name, "Running", first, conditions=ready)
        write(name, "Running", second, conditions=ready)
        write(name, "Succeeded")
        write(name, "Failed", second)
    assert admin.request("GET", f"{PODS}/web")["status"]["podIPs"] == [{"ip": "10.244.1.10"}]
    # A pod keeps its address, whatever it is, for example after a change of the Node's address.
    outside = addresses("192.0.2.77")
    admin.request("PATCH", f"{PODS}/host/status", {}, outside, content_type=client.MERGE)
    write("host", "Running", "192.0.2.77", conditions=ready)
    assert not refused(kubelet, "DELETE", f"{PODS}/web")


def labelled(**labels: str | None) -> dict[str, Any]:
    return {"metadata": {"labels": labels}}


@pytest.mark.parametrize("path", [f"{NODES}/one", f"{NODES}/one/status"])
@pytest.mark.parametrize(
    "labels",
    [
        {"disk": "hdd"},
        {"disk": None},
        {"example.org/gpu": "yes"},
        # With this label the node would get pods and volumes of another host.
        {"kubernetes.io/hostname": "two"},
        {"kubernetes.io/hostname": None},
        {"kubernetes.io/arch": "arm64"},
        {"beta.kubernetes.io/os": "windows"},
        {"topology.kubernetes.io/zone": "b"},
        {"node.kubernetes.io/instance-type": "large"},
        {"node-role.kubernetes.io/loadbalancer": ""},
        {"cloudbang.platform/cluster": "other"},
    ],
)
def test_a_kubelet_changes_no_labels_of_its_node(site: Site, path: str, labels: dict[str, str | None]) -> None:
    assert "labels of Nodes" in refused(site[1], "PATCH", path, labelled(**labels))


@pytest.mark.parametrize(
    "body",
    [
        {"spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]}},
        {"spec": {"unschedulable": True}},
        {"spec": {"taints": None}},
    ],
)
def test_a_kubelet_does_not_write_the_spec_of_its_node(site: Site, body: dict[str, Any]) -> None:
    said = refused(site[1], "PATCH", f"{NODES}/one", body)
    assert "spec of Nodes" in said or "podCIDR" in said


def test_a_kubelet_gives_itself_no_range(site: Site) -> None:
    """A Node without a podCIDR keeps the first one written. The whole pod network would displace all other hosts."""
    admin, kubelet = site
    whole = {"podCIDR": "10.244.0.0/16", "podCIDRs": ["10.244.0.0/16"]}
    gone(admin, f"{NODES}/one")
    assert "bring a podCIDR" in refused(kubelet, "POST", NODES, merged(registered("one"), {"spec": whole}))
    kubelet.request("POST", NODES, {}, registered("one"))
    assert "spec of Nodes" in refused(kubelet, "PATCH", f"{NODES}/one", {"spec": whole})
    # The controller manager sets the podCIDR.
    assert not refused(
        admin, "PATCH", f"{NODES}/one", {"spec": {"podCIDR": RANGES["one"], "podCIDRs": [RANGES["one"]]}}
    )


@pytest.mark.parametrize(
    "labels",
    [
        {"disk": "ssd"},
        {"kubernetes.io/hostname": "two"},
        {"topology.kubernetes.io/zone": "b"},
        {"node-role.kubernetes.io/loadbalancer": ""},
    ],
)
def test_a_node_that_is_made_anew_brings_no_labels(site: Site, labels: dict[str, str]) -> None:
    gone(site[0], f"{NODES}/one")
    assert "labels of Nodes" in refused(site[1], "POST", NODES, merged(registered("one"), labelled(**labels)))


INTERNAL = {"type": "InternalIP", "address": "192.0.2.1"}


@pytest.mark.parametrize(
    "found",
    [
        [{"type": "InternalIP", "address": "192.0.2.2"}, {"type": "Hostname", "address": "one"}],
        [INTERNAL, {"type": "Hostname", "address": "two"}],
        [INTERNAL, {"type": "InternalIP", "address": "192.0.2.2"}, {"type": "Hostname", "address": "one"}],
        [INTERNAL, {"type": "ExternalIP", "address": "192.0.2.2"}, {"type": "Hostname", "address": "one"}],
        [{"type": "Hostname", "address": "one"}],
        [],
    ],
)
def test_a_node_keeps_its_addresses(site: Site, found: list[dict[str, str]]) -> None:
    said = refused(site[1], "PATCH", f"{NODES}/one/status", {"status": {"addresses": found}})
    assert "addresses of a Node do not change" in said


def test_a_kubelet_registers_and_goes_on(site: Site) -> None:
    """At first, at each start, with a Node that somebody created or removed labels from, and with a CSI driver."""
    admin, kubelet = site
    status = f"{NODES}/one/status"

    def write(method: str, where: str, body: dict[str, Any]) -> None:
        assert refused(kubelet, method, where, body) == ""

    gone(admin, f"{NODES}/one")
    write("POST", NODES, registered("one"))
    again = registered("one")
    write("PATCH", status, {"metadata": {"labels": again["metadata"]["labels"]}, "status": again["status"]})
    write("PATCH", status, {"status": {"addresses": again["status"]["addresses"][::-1], "phase": "Running"}})
    write("PATCH", status, {"metadata": {"annotations": {"csi.volume.kubernetes.io/nodeid": "{}"}}})
    write("PATCH", status, labelled(**{"topology.example.org/rack": "7"}))
    assert "labels of Nodes" in refused(kubelet, "PATCH", status, labelled(**{"topology.example.org/rack": "8"}))
    nothing: dict[str, str | None] = {**dict.fromkeys(OWN_LABELS), "kubernetes.io/hostname": None}
    admin.request("PATCH", f"{NODES}/one", {}, labelled(disk="ssd", **nothing), content_type=client.MERGE)
    write("PATCH", status, labelled(**OWN_LABELS))
    wrong = labelled(**{"kubernetes.io/hostname": "two"})
    assert "labels of Nodes" in refused(kubelet, "PATCH", status, wrong)
    write("PATCH", status, labelled(**{"kubernetes.io/hostname": "one"}))
    # A Node without an address, as after a start without a network.
    gone(admin, f"{NODES}/one")
    bare = registered("one")
    write("POST", NODES, {**bare, "status": {"addresses": [{"type": "Hostname", "address": "one"}]}})
    write("PATCH", status, {"status": {"addresses": bare["status"]["addresses"]}})


def test_others_write_nodes_and_pods_as_before(api: Api, site: Site) -> None:
    """The policies restrict only kubelets."""
    admin = site[0]
    changes: list[Callable[[], str]] = [
        lambda: refused(admin, "PATCH", f"{NODES}/one", labelled(disk="hdd", zone="a"), DRY),
        lambda: refused(admin, "PATCH", f"{NODES}/one/status", {"status": {"addresses": []}}, DRY),
        lambda: refused(admin, "PATCH", f"{PODS}/web/status", addresses("192.0.2.9"), DRY),
        lambda: refused(admin, "POST", PODS, pod("other"), DRY),
    ]
    assert [change() for change in changes] == ["", "", "", ""]


def test_every_policy_refuses_what_it_cannot_judge() -> None:
    for network in ("calico", "goodnet"):
        made = rendered(network)
        policies = [one for one in made if one["kind"] == "ValidatingAdmissionPolicy"]
        assert {one["spec"]["failurePolicy"] for one in policies} == {"Fail"}
        bound = {one["spec"]["policyName"]: one["spec"] for one in made if one not in policies}
        assert set(bound) == {one["metadata"]["name"] for one in policies}
        for one in policies:
            spec = bound[one["metadata"]["name"]]
            assert spec["validationActions"] == ["Deny"]
            assert (spec.get("paramRef") or {}).get("parameterNotFoundAction", "Deny") == "Deny"
            assert ("paramRef" in spec) == ("paramKind" in one["spec"])
