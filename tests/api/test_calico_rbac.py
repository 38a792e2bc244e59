# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role lets Calico's agents of a node do the work of their own node in the cluster, and nothing to other nodes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure

from .conftest import Api

TEMPLATES = Path(__file__).resolve().parents[2] / "roles" / "calico" / "templates"
DEFAULTS = yaml.safe_load((TEMPLATES.parent / "defaults" / "main.yml").read_text("utf-8"))
VALUES = {
    **DEFAULTS,
    "cloudbang_pod_cidr": "10.244.0.0/16",
    "cloudbang_cluster_name": "test",
    "cloudbang_registry": "registry.example.org",
    "_calico_version": "3.28.5",
}
CRD = "/apis/crd.projectcalico.org/v1"
NODES, PODS = "/api/v1/nodes", "/api/v1/namespaces/default/pods"
ADDRESS, TUNNEL = "projectcalico.org/IPv4Address", "projectcalico.org/IPv4VXLANTunnelAddr"
POD_IP, POD_IPS = "cni.projectcalico.org/podIP", "cni.projectcalico.org/podIPs"
ADDRESSES = {"one": "192.0.2.1", "two": "192.0.2.2"}
# Each node has one block at the start of a test, with the address of its tunnel.
BLOCKS = {"one": "10.244.1.0/26", "two": "10.244.2.0/26"}
TUNNELS = {"one": "10.244.1.0", "two": "10.244.2.0"}
Change = tuple[str, str, Any]


def environment() -> jinja2.Environment:
    made = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    made.globals["lookup"] = lambda *_names: "sha256:" + "0" * 64
    made.filters["to_uuid"] = lambda text: f"00000000-0000-0000-0000-{len(text):012}"
    return made


def rendered(name: str, **values: str) -> list[dict[str, Any]]:
    """Return the objects of a template of the role."""
    text = environment().from_string((TEMPLATES / name).read_text("utf-8")).render({**VALUES, **values})
    return [one for one in yaml.safe_load_all(text) if one]


PLURALS = {"IPPool": "ippools", "ValidatingAdmissionPolicy": "validatingadmissionpolicies"}


def place(made: dict[str, Any]) -> str:
    """Return the path of an object without a namespace."""
    plural = PLURALS.get(made["kind"], made["kind"].lower() + "s")
    return f"/apis/{made['apiVersion']}/{plural}/{made['metadata']['name']}"


def apply(kube: client.Kube, made: dict[str, Any]) -> None:
    query = {"fieldManager": "cloudbang", "force": "true"}
    kube.request("PATCH", place(made), query, made, content_type=client.APPLY)


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def named(path: str, name: str, **spec: Any) -> dict[str, Any]:
    """Return an object of Calico."""
    kinds = {"ipamblocks": "IPAMBlock", "ipamhandles": "IPAMHandle", "blockaffinities": "BlockAffinity"}
    kinds |= {"globalnetworkpolicies": "GlobalNetworkPolicy", "hostendpoints": "HostEndpoint", "ippools": "IPPool"}
    kinds |= {"networkpolicies": "NetworkPolicy", "globalnetworksets": "GlobalNetworkSet", "networksets": "NetworkSet"}
    kinds |= {"felixconfigurations": "FelixConfiguration", "bgpconfigurations": "BGPConfiguration"}
    kinds |= {"ipreservations": "IPReservation", "kubecontrollersconfigurations": "KubeControllersConfiguration"}
    version = {"apiVersion": "crd.projectcalico.org/v1", "kind": kinds[path.rpartition("/")[2]]}
    return {**version, "metadata": {"name": name}, "spec": spec}


def dashed(cidr: str) -> str:
    return cidr.replace(".", "-").replace("/", "-")


def block(node: str, cidr: str, name: str = "", **more: Any) -> dict[str, Any]:
    affinity = {"affinity": f"host:{node}"} if node else {}
    empty = {"allocations": [None, None], "unallocated": [0, 1], "attributes": [], "strictAffinity": False}
    return named("ipamblocks", name or dashed(cidr), cidr=cidr, **affinity, **{**empty, **more})


def affinity(node: str, cidr: str, state: str = "confirmed", name: str = "") -> dict[str, Any]:
    name = name or f"{node}-{dashed(cidr)}"
    return named("blockaffinities", name, cidr=cidr, node=node, state=state, deleted="false")


def handle(name: str, *cidrs: str) -> dict[str, Any]:
    return named("ipamhandles", name, handleID=name, block=dict.fromkeys(cidrs, 1))


def node_object(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


def pod_object(name: str, node: str) -> dict[str, Any]:
    spec = {"nodeName": node, "containers": [{"name": "web", "image": "web"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


class Site:
    """The cluster after the role, with clients of an administrator and of the programs of a node."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.admin = api.kube
        self._clients: dict[tuple[str, str], client.Kube] = {}

    def of(self, user: str, group: str) -> client.Kube:
        if (user, group) not in self._clients:
            self._clients[user, group] = client.connect({"kubeconfig": str(self._kubeconfig(user, group))})
        return self._clients[user, group]

    def _kubeconfig(self, user: str, group: str) -> Path:
        certificate, key = self.api.authority.issue(user, group)
        name = user.replace(":", "-") + ".conf"
        return self.api.write_kubeconfig(name, self.api.authority.pem, certificate, key)

    def agent(self, name: str, node: str = "one") -> client.Kube:
        return self.of(f"cloudbang:calico-{name}:{node}", f"cloudbang:calico-{name}")

    def kubeconfig(self, name: str, node: str) -> Path:
        return self._kubeconfig(f"cloudbang:calico-{name}:{node}", f"cloudbang:calico-{name}")

    def kubelet(self, node: str = "one") -> client.Kube:
        return self.of(f"system:node:{node}", "system:nodes")

    def remove(self, path: str) -> None:
        try:
            self.admin.request("DELETE", path, {"gracePeriodSeconds": "0"})
        except client.ApiError as error:
            assert error.status == 404

    def start(self) -> None:
        """Reset the objects of two nodes to their state when pods start."""
        for kind in ("ipamhandles", "ipamblocks", "blockaffinities"):
            for one in self.admin.request("GET", f"{CRD}/{kind}")["items"]:
                self.remove(f"{CRD}/{kind}/{one['metadata']['name']}")
        for node, cidr in BLOCKS.items():
            for pod in (f"{node}-web",):
                self.remove(f"{PODS}/{pod}")
            self.remove(f"{NODES}/{node}")
            self.admin.request("POST", NODES, {}, node_object(node))
            addresses = [{"type": "InternalIP", "address": ADDRESSES[node]}]
            conditions = [{"type": "Ready", "status": "True"}, {"type": "NetworkUnavailable", "status": "True"}]
            status = {"addresses": addresses, "conditions": conditions, "images": [{"names": ["web"], "sizeBytes": 1}]}
            status |= KUBELET
            body = {"metadata": {"annotations": {TUNNEL: TUNNELS[node], "other": "kept"}}, "status": status}
            self.admin.request("PATCH", f"{NODES}/{node}/status", {}, body, content_type=client.MERGE)
            self.admin.request("POST", PODS, {}, pod_object(f"{node}-web", node))
            self.admin.request("POST", f"{CRD}/blockaffinities", {}, affinity(node, cidr))
            self.admin.request("POST", f"{CRD}/ipamblocks", {}, block(node, cidr))
            self.admin.request("POST", f"{CRD}/ipamhandles", {}, handle(f"vxlan-tunnel-addr-{node}", cidr))


# Fields that a kubelet writes and Calico's older client does not know.
INFO = ("architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion", "kubeletVersion")
INFO = (*INFO, "machineID", "operatingSystem", "osImage", "systemUUID")
KUBELET: dict[str, Any] = {
    "declaredFeatures": ["GuaranteedQoSPodCPUResize"],
    "features": {"supplementalGroupsPolicy": True},
    "nodeInfo": {**dict.fromkeys(INFO, "x"), "swap": {"capacity": 1}},
    "runtimeHandlers": [{"name": "runc", "features": {"userNamespaces": True}}],
}


def merged(into: Any, patch: Any) -> Any:
    if not isinstance(into, dict) or not isinstance(patch, dict):
        return patch
    whole = {**into, **{key: merged(into.get(key), value) for key, value in patch.items()}}
    return {key: value for key, value in whole.items() if value is not None}


def refused(kube: client.Kube, method: str, where: str, body: Any = None, query: dict[str, str] | None = None) -> str:
    """Return the message with which a request is refused, empty when it is not. UPDATE puts a patched object."""
    if method == "UPDATE":
        method, body = "PUT", merged(kube.request("GET", where), body)
    content_type = client.MERGE if method == "PATCH" else "application/json"
    try:
        kube.request(method, where, query or {}, body, content_type=content_type)
    except client.ApiError as error:
        # 404 or 409 would not show anything about rights.
        assert error.status in (403, 422), error
        return str(error)
    return ""


@pytest.fixture(scope="module")
def installed(api: Api) -> Iterator[Site]:
    """The role's objects. Kubelets have the rights of any cluster with the authorizer RBAC."""
    site = Site(api)
    crds = ensure(["calico-crds"], Settings.from_vars({}), print)["calico-crds"].path
    for one in yaml.safe_load_all(Path(crds).read_text("utf-8")):
        if one:
            apply(site.admin, one)
    made = [*rendered("rbac.yaml.j2"), *rendered("admission.yaml.j2")]
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "test-kubelets"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}],
    }
    for one in (*made, binding):
        apply(site.admin, one)

    def established() -> bool:
        try:
            for one in rendered("settings.yaml.j2"):
                apply(site.admin, one)
        except client.ApiError as error:
            assert error.status == 404, error
            return False
        return True

    eventually(established)
    eventually(lambda: site.admin.request("GET", "/api/v1/namespaces/default/serviceaccounts")["items"])
    site.start()
    in_force(site)
    yield site
    for one in (*made, binding):
        site.remove(place(one))


def in_force(site: Site) -> None:
    """Wait until each policy is in force: the API server takes a moment."""
    dry = {"dryRun": "All"}
    agent, plugin, kubelet = site.agent("node"), site.agent("cni"), site.kubelet()
    label = {"metadata": {"labels": {"a": "b"}}}
    for kube, method, where, body in (
        (agent, "PATCH", f"{NODES}/one/status", label),
        (plugin, "PATCH", f"{PODS}/one-web/status", label),
        (kubelet, "PATCH", f"{PODS}/one-web/status", {"status": {"podIPs": [{"ip": "10.244.2.9"}]}}),
        (kubelet, "PATCH", f"{NODES}/one", {"metadata": {"annotations": {TUNNEL: None}}}),
        (plugin, "POST", f"{CRD}/ipamblocks", block("one", "10.1.0.0/26")),
        (plugin, "POST", f"{CRD}/blockaffinities", affinity("one", BLOCKS["two"])),
        (plugin, "POST", f"{CRD}/ipamhandles", handle("wrong", BLOCKS["two"])),
        (site.admin, "PATCH", f"{CRD}/ippools/default-ipv4-ippool", {"spec": {"blockSize": 28}}),
    ):
        eventually(lambda k=kube, m=method, w=where, b=body: refused(k, m, w, b, dry))


@pytest.fixture
def site(installed: Site) -> Site:
    installed.start()
    return installed


# By program: requests with which a compromised node could harm others.
FORBIDDEN: list[tuple[str, Change]] = [
    *(
        (name, ("POST", f"{CRD}/{path}", named(path, "evil")))
        for name in ("node", "cni")
        for path in (
            "globalnetworkpolicies",
            "globalnetworksets",
            "hostendpoints",
            "namespaces/default/networkpolicies",
            "namespaces/default/networksets",
            "ippools",
            "felixconfigurations",
            "bgpconfigurations",
            "ipreservations",
            "kubecontrollersconfigurations",
        )
    ),
    *(
        (name, (method, f"{CRD}/{path}/default{'-ipv4-ippool' if path == 'ippools' else ''}", {"spec": {}}))
        for name in ("node", "cni")
        for path in ("ippools", "felixconfigurations", "clusterinformations", "ipamconfigs")
        for method in ("DELETE", "PATCH", "PUT")
    ),
    ("node", ("PATCH", f"{NODES}/one", {"metadata": {"annotations": {"a": "b"}}})),
    ("node", ("PATCH", f"{PODS}/one-web/status", {"metadata": {"annotations": {POD_IP: "10.244.1.1/32"}}})),
    ("cni", ("PATCH", f"{NODES}/one/status", {"metadata": {"annotations": {ADDRESS: "192.0.2.1"}}})),
]


@pytest.mark.parametrize(
    ("name", "change"), FORBIDDEN, ids=lambda one: one if isinstance(one, str) else " ".join(one[:2])
)
def test_a_node_has_no_right_to_write_what_is_for_all(site: Site, name: str, change: Change) -> None:
    assert "cannot" in refused(site.agent(name), *change)


STATUS = f"{NODES}/one/status"
READY = [{"type": "Ready", "status": "False"}, {"type": "NetworkUnavailable", "status": "True"}]


def annotated(**annotations: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations}}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (f"{NODES}/two/status", annotated(**{ADDRESS: ADDRESSES["two"]}), "of its own node only"),
        (f"{NODES}/two/status", {"metadata": {"labels": {"a": "b"}}}, "of its own node only"),
        (STATUS, {"metadata": {"labels": {"node-role.kubernetes.io/loadbalancer": ""}}}, "and no labels"),
        (STATUS, annotated(other="changed"), "own annotations"),
        (STATUS, annotated(other=None), "own annotations"),
        (STATUS, annotated(**{"projectcalico.org/VXLANTunnelMACAddr": "66:00:00:00:00:02"}), "own annotations"),
        (STATUS, annotated(**{"cloudbang.platform/underlay-address": ADDRESSES["two"]}), "own annotations"),
        (STATUS, {"metadata": {"finalizers": ["example.org/never"]}}, "own annotations"),
        (STATUS, annotated(**{ADDRESS: ADDRESSES["two"]}), "wanted the InternalIP"),
        (STATUS, annotated(**{ADDRESS: f"{ADDRESSES['two']}/24"}), "wanted the InternalIP"),
        # The address of a pod of another node, or of its tunnel.
        (STATUS, annotated(**{TUNNEL: "10.244.2.7"}), "set once"),
        (STATUS, annotated(**{TUNNEL: None}), "set once"),
        (STATUS, {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.2"}]}}, "NetworkUnavailable"),
        (STATUS, {"status": {"conditions": READY}}, "NetworkUnavailable"),
        (STATUS, {"status": {"images": []}}, "NetworkUnavailable"),
        (STATUS, {"status": {"capacity": {"cpu": "900"}}}, "NetworkUnavailable"),
        (STATUS, {"status": {"nodeInfo": {**KUBELET["nodeInfo"], "kubeletVersion": "v1.0.0"}}}, "NetworkUnavailable"),
        (STATUS, {"status": {"nodeInfo": {"swap": {"capacity": 2}}}}, "NetworkUnavailable"),
        (STATUS, {"status": {"features": {"supplementalGroupsPolicy": False}}}, "NetworkUnavailable"),
        (STATUS, {"status": {"runtimeHandlers": [{"name": "other"}]}}, "NetworkUnavailable"),
        (STATUS, {"status": {"declaredFeatures": ["Other"]}}, "NetworkUnavailable"),
        (STATUS, {"status": {"volumesAttached": [{"name": "a", "devicePath": "b"}]}}, "NetworkUnavailable"),
    ],
)  # fmt: skip
def test_the_status_of_nodes_is_not_a_nodes_to_write(site: Site, path: str, body: Any, words: str) -> None:
    assert words in refused(site.agent("node"), "PATCH", path, body)


def test_every_field_of_a_nodes_status_is_compared(site: Site) -> None:
    """A release of Kubernetes may add one."""
    schema = site.admin.request("GET", "/openapi/v3/api/v1")["components"]["schemas"]
    known = set(schema["io.k8s.api.core.v1.NodeStatus"]["properties"]) - {"nodeInfo"}
    known |= {f"nodeInfo.?{field}" for field in schema["io.k8s.api.core.v1.NodeSystemInfo"]["properties"]}
    policy = next(
        one for one in rendered("admission.yaml.j2") if one["metadata"]["name"] == "cloudbang-calico-node-status"
    )
    text = policy["spec"]["validations"][-1]["expression"]
    assert {field for field in known if f"object.status.?{field} ==" in text} == known - {"conditions"}


def test_the_agent_writes_what_it_has_to_of_its_node(site: Site) -> None:
    agent = site.agent("node")
    site.admin.request("PATCH", STATUS, {}, annotated(**{TUNNEL: None}), content_type=client.MERGE)

    def put(**annotations: str) -> None:
        """Write the whole status, again if somebody else wrote in between."""

        def written() -> bool:
            node = agent.request("GET", f"{NODES}/one")
            node["metadata"]["annotations"] |= annotations
            try:
                agent.request("PUT", STATUS, {}, node)
            except client.ApiError as error:
                assert error.status == 409, error
                return False
            return True

        eventually(written)

    # The requests at the start of the agent, with the tunnel's address, and without a change.
    put(**{ADDRESS: f"{ADDRESSES['one']}/24"})
    put(**{TUNNEL: "10.244.1.0"})
    put()
    condition = [{"type": "NetworkUnavailable", "status": "False", "reason": "CalicoIsUp", "message": "runs"}]
    strategic = "application/strategic-merge-patch+json"
    agent.request("PATCH", STATUS, {}, {"status": {"conditions": condition}}, content_type=strategic)
    found = agent.request("GET", f"{NODES}/one")
    wanted = {ADDRESS: "192.0.2.1/24", TUNNEL: "10.244.1.0", "other": "kept"}
    assert wanted.items() <= found["metadata"]["annotations"].items()
    assert {one["type"]: one["status"] for one in found["status"]["conditions"]} == {
        "Ready": "True",
        "NetworkUnavailable": "False",
    }


@pytest.mark.parametrize("value", ["10.96.0.1", "192.0.2.2", "fd00::1", "10.244.1.0/26", "nothing", ""])
def test_a_tunnels_address_is_one_of_the_pod_network(site: Site, value: str) -> None:
    site.admin.request("PATCH", STATUS, {}, annotated(**{TUNNEL: None}), content_type=client.MERGE)
    assert "set once" in refused(site.agent("node"), "PATCH", STATUS, annotated(**{TUNNEL: value}))


def test_without_tunnels_their_addresses_go_and_none_come(site: Site) -> None:
    agent, dry = site.agent("node"), {"dryRun": "All"}
    policies = [one for one in rendered("admission.yaml.j2", calico_vxlan="Never") if "node-status" in place(one)]
    try:
        for one in policies:
            apply(site.admin, one)
        eventually(lambda: not refused(agent, "PATCH", STATUS, annotated(**{TUNNEL: None}), dry))
        assert "set once" in refused(agent, "PATCH", STATUS, annotated(**{TUNNEL: "10.244.1.1"}))
        assert not refused(agent, "PATCH", STATUS, annotated(**{TUNNEL: None}))
        assert "set once" in refused(agent, "PATCH", STATUS, annotated(**{TUNNEL: "10.244.1.1"}))
    finally:
        for one in rendered("admission.yaml.j2"):
            apply(site.admin, one)
        site.start()
        eventually(lambda: refused(agent, "PATCH", STATUS, annotated(**{TUNNEL: None}), dry))


@pytest.mark.parametrize("path", [f"{NODES}/one", STATUS])
@pytest.mark.parametrize("value", ["10.244.2.7", None])
def test_a_kubelet_does_not_write_calicos_annotations(site: Site, path: str, value: str | None) -> None:
    assert "kubelets may not" in refused(site.kubelet(), "PATCH", path, annotated(**{TUNNEL: value}))


def test_a_kubelet_writes_all_else(site: Site) -> None:
    kubelet = site.kubelet()
    volumes = annotated(**{"volumes.kubernetes.io/controller-managed-attach-detach": "true"})
    kubelet.request("PATCH", f"{NODES}/one", {}, volumes, content_type=client.MERGE)
    kubelet.request("PATCH", STATUS, {}, {"status": {"phase": "Running"}}, content_type=client.MERGE)
    # The first time, without and with annotations.
    site.remove(f"{NODES}/one")
    made = {**node_object("one"), **annotated(**{TUNNEL: "10.244.2.7"})}
    made["metadata"]["name"] = "one"
    assert "kubelets may not" in refused(kubelet, "POST", NODES, made)
    kubelet.request("POST", NODES, {}, node_object("one"))
    kubelet.request("PATCH", STATUS, {}, {"status": {"phase": "Running"}}, content_type=client.MERGE)


OWN_POD = f"{PODS}/one-web/status"
FREE = "10.244.9.0/26"
POD_LINE = {POD_IP: "10.244.1.1/32", "cni.projectcalico.org/containerID": "c0ffee"}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (f"{PODS}/two-web/status", annotated(**POD_LINE), "of its own node only"),
        (f"{PODS}/two-web/status", {"status": {"podIPs": [{"ip": "10.244.1.9"}]}}, "of its own node only"),
        (OWN_POD, {"status": {"podIP": "10.244.2.9", "podIPs": [{"ip": "10.244.2.9"}]}}, "of a pod only"),
        (OWN_POD, {"status": {"phase": "Failed"}}, "of a pod only"),
        (OWN_POD, {"metadata": {"labels": {"name": "victim"}}}, "of a pod only"),
        (OWN_POD, annotated(other="value"), "of a pod only"),
        (OWN_POD, annotated(**{"cni.projectcalico.org/floatingIPs": '["10.244.2.9"]'}), "of a pod only"),
        *(
            (OWN_POD, annotated(**{name: address}), words)
            for name in (POD_IP, POD_IPS)
            for address, words in (
                ("192.0.2.1/32", "of the pod network"),
                ("10.96.0.10/32", "of the pod network"),
                ("10.244.2.9/32", "of another node"),
                ("10.244.2.9", "of another node"),
                ("10.244.1.9/32,10.244.2.9/32", "of another node"),
            )
        ),
    ],
)
def test_the_status_of_pods_is_not_a_nodes_to_write(site: Site, path: str, body: Any, words: str) -> None:
    assert words in refused(site.agent("cni"), "PATCH", path, body)


def test_the_plugin_notes_the_address_of_its_pods(site: Site) -> None:
    plugin = site.agent("cni")
    plugin.request("PATCH", OWN_POD, {}, annotated(**POD_LINE), content_type=client.MERGE)
    plugin.request("PATCH", OWN_POD, {}, annotated(**{POD_IP: ""}), content_type=client.MERGE)
    found = plugin.request("GET", f"{PODS}/one-web")["metadata"]["annotations"]
    assert found == {**POD_LINE, POD_IP: ""}


def with_address(*found: str) -> dict[str, Any]:
    return {"status": {"podIP": found[0] if found else None, "podIPs": [{"ip": one} for one in found]}}


def test_a_kubelet_gives_its_pods_no_addresses_of_another_nodes_blocks(site: Site) -> None:
    kubelet = site.kubelet()
    assert "of another node" in refused(kubelet, "PATCH", OWN_POD, with_address("10.244.2.9"))
    # Its own address, one in an unclaimed block, and none. Another node has requested a block and not got it yet.
    site.admin.request("POST", f"{CRD}/blockaffinities", {}, affinity("two", FREE, "pending"))
    for found in (["10.244.1.9"], ["10.244.9.9"], []):
        assert not refused(kubelet, "PATCH", OWN_POD, with_address(*found))
    # The policy checks only new addresses: one that a pod has already does not block other reports about the pod.
    site.admin.request("PATCH", OWN_POD, {}, with_address("10.244.2.9"), content_type=client.MERGE)
    assert not refused(kubelet, "PATCH", OWN_POD, {"status": {"phase": "Running"}})
    site.agent("cni").request("PATCH", OWN_POD, {}, annotated(**POD_LINE), content_type=client.MERGE)
    assert not refused(kubelet, "PATCH", OWN_POD, with_address("10.244.1.9"))


def test_without_blocks_pods_start(site: Site) -> None:
    """Like the first pod of a cluster, whose block may not be in the API server's cache."""
    for node, cidr in BLOCKS.items():
        site.remove(f"{CRD}/blockaffinities/{node}-{dashed(cidr)}")
    kubelet = site.kubelet()
    eventually(lambda: not refused(kubelet, "PATCH", OWN_POD, with_address("10.244.1.9"), {"dryRun": "All"}))


ATTACKS: list[tuple[str, Change]] = [
    ("own node only", ("POST", f"{CRD}/ipamblocks", block("two", FREE))),
    ("own node only", ("POST", f"{CRD}/ipamblocks", block("", FREE))),
    # The address of a pod of the other node, its whole block, and more.
    ("is one of those", ("POST", f"{CRD}/ipamblocks", block("one", "10.244.2.7/32"))),
    ("is one of those", ("POST", f"{CRD}/ipamblocks", block("one", "10.244.2.0/24"))),
    ("is one of those", ("POST", f"{CRD}/ipamblocks", block("one", BLOCKS["two"], "other-name"))),
    ("is one of those", ("POST", f"{CRD}/ipamblocks", block("one", "10.244.2.7/26"))),
    ("is one of those", ("POST", f"{CRD}/ipamblocks", block("one", "192.0.2.0/26"))),
    ("is one of those", ("POST", f"{CRD}/ipamblocks", block("one", "fd00::/26", "fd00"))),
    ("is one of those", ("POST", f"{CRD}/ipamblocks", block("one", "nothing"))),
    ("own node only", ("UPDATE", f"{CRD}/ipamblocks/10-244-2-0-26", {"spec": {"unallocated": [7]}})),
    ("own node only", ("UPDATE", f"{CRD}/ipamblocks/10-244-2-0-26", {"spec": {"affinity": "host:one"}})),
    ("own node only", ("UPDATE", f"{CRD}/ipamblocks/10-244-1-0-26", {"spec": {"affinity": "host:two"}})),
    ("cannot change", ("UPDATE", f"{CRD}/ipamblocks/10-244-1-0-26", {"spec": {"cidr": BLOCKS["two"]}})),
    ("own node only", ("DELETE", f"{CRD}/ipamblocks/10-244-2-0-26", None)),
    ("own node only", ("POST", f"{CRD}/blockaffinities", affinity("two", FREE))),
    ("has the name of", ("POST", f"{CRD}/blockaffinities", affinity("one", FREE, name=f"two-{dashed(FREE)}"))),
    ("is to one of", ("POST", f"{CRD}/blockaffinities", affinity("one", "10.244.2.0/24"))),
    ("another node", ("POST", f"{CRD}/blockaffinities", affinity("one", BLOCKS["two"]))),
    ("own node only", ("UPDATE", f"{CRD}/blockaffinities/two-10-244-2-0-26", {"spec": {"state": "pending"}})),
    ("own node only", ("UPDATE", f"{CRD}/blockaffinities/two-10-244-2-0-26", {"spec": {"node": "one"}})),
    ("cannot change", ("UPDATE", f"{CRD}/blockaffinities/one-10-244-1-0-26", {"spec": {"cidr": BLOCKS["two"]}})),
    ("own node only", ("DELETE", f"{CRD}/blockaffinities/two-10-244-2-0-26", None)),
    ("another node", ("POST", f"{CRD}/ipamhandles", handle("mine", BLOCKS["two"]))),
    ("another node", ("UPDATE", f"{CRD}/ipamhandles/vxlan-tunnel-addr-two", {"spec": {"block": {BLOCKS["one"]: 1}}})),
    ("another node", ("UPDATE", f"{CRD}/ipamhandles/vxlan-tunnel-addr-one", {"spec": {"block": {BLOCKS["two"]: 1}}})),
    ("another node", ("DELETE", f"{CRD}/ipamhandles/vxlan-tunnel-addr-two", None)),
]  # fmt: skip


@pytest.mark.parametrize("name", ["node", "cni"])
@pytest.mark.parametrize(("words", "change"), ATTACKS)
def test_addresses_of_another_node_are_not_a_nodes_to_write(site: Site, name: str, words: str, change: Change) -> None:
    assert words in refused(site.agent(name), *change)


@pytest.mark.parametrize("name", ["node", "cni"])
def test_a_block_is_claimed_used_and_given_back(site: Site, name: str) -> None:
    """As Calico's library does it: pending affinity, block, confirmed affinity, an address, and its release."""
    agent = site.agent(name)

    def change(kind: str, what: str, **spec: Any) -> None:
        found = agent.request("GET", f"{CRD}/{kind}/{what}")
        found["spec"] |= spec
        agent.request("PUT", f"{CRD}/{kind}/{what}", {}, found)

    own, network = f"one-{dashed(FREE)}", dashed(FREE)
    agent.request("POST", f"{CRD}/blockaffinities", {}, affinity("one", FREE, "pending"))
    agent.request("POST", f"{CRD}/ipamblocks", {}, block("one", FREE))
    change("blockaffinities", own, state="confirmed")
    agent.request("POST", f"{CRD}/ipamhandles", {}, handle("pod", FREE))
    change("ipamhandles", "pod", block={FREE: 2})
    change("ipamblocks", network, allocations=[0, None], unallocated=[1], attributes=[{"handle_id": "pod"}])
    change("ipamblocks", network, allocations=[None, None], unallocated=[0, 1], attributes=[])
    change("ipamhandles", "pod", deleted=True)
    agent.request("DELETE", f"{CRD}/ipamhandles/pod")
    change("blockaffinities", own, state="pendingDeletion")
    change("ipamblocks", network, deleted=True)
    agent.request("DELETE", f"{CRD}/ipamblocks/{network}")
    change("blockaffinities", own, deleted="true")
    agent.request("DELETE", f"{CRD}/blockaffinities/{own}")


def test_of_two_nodes_that_want_a_block_one_gets_it(site: Site) -> None:
    """Both can create a pending affinity; the node that is late deletes its own."""
    for node in ("one", "two"):
        site.agent("cni", node).request("POST", f"{CRD}/blockaffinities", {}, affinity(node, FREE, "pending"))
    site.agent("cni", "two").request("POST", f"{CRD}/ipamblocks", {}, block("two", FREE))
    confirm = {"spec": {"state": "confirmed"}}
    where = f"{CRD}/blockaffinities/two-{dashed(FREE)}"
    assert not refused(site.agent("cni", "two"), "UPDATE", where, confirm)
    mine = f"{CRD}/blockaffinities/one-{dashed(FREE)}"
    eventually(lambda: "another node" in refused(site.agent("cni"), "UPDATE", mine, confirm, {"dryRun": "All"}))
    site.agent("cni").request("DELETE", mine)
    site.agent("cni", "two").request("POST", f"{CRD}/ipamhandles", {}, handle("pod", FREE))


# Only this process sees the files that the agents write.
ALONE = 'mount -t tmpfs none /var/lib; mount -t tmpfs none /run; exec "$@"'


def start(command: list[str], environment: dict[str, str], stdin: str = "") -> subprocess.Popen[str]:
    """Start a program of Calico as a host would."""
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-euc", ALONE, "sh", *command]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    made = subprocess.Popen(alone, env={"PATH": os.environ["PATH"], **environment}, text=True, **pipes)  # type: ignore[call-overload]
    assert made.stdin is not None
    made.stdin.write(stdin)
    made.stdin.close()
    made.stdin = None
    return made


def ended(made: subprocess.Popen[str]) -> str:
    output, _ignored = made.communicate(timeout=60)
    assert made.returncode == 0, output
    return output


def test_calicos_own_programs_are_refused_nothing(site: Site) -> None:
    """The startup of a node, the address of its tunnel, and the address of a pod, which is assigned and released."""
    programs = ensure(["calico-node", "calico-ipam"], Settings.from_vars({}), print)
    for path in ("ipamhandles/vxlan-tunnel-addr-one", "ipamblocks/10-244-1-0-26", "blockaffinities/one-10-244-1-0-26"):
        site.remove(f"{CRD}/{path}")
    site.admin.request("PATCH", STATUS, {}, annotated(**{TUNNEL: None}), content_type=client.MERGE)
    node, plugin = (str(site.kubeconfig(name, "one")) for name in ("node", "cni"))
    values = {**VALUES, "inventory_hostname": "one", "cloudbang_node_address": ADDRESSES["one"]}
    text = environment().from_string((TEMPLATES / "calico.env.j2").read_text("utf-8"))
    lines = text.render({**values, "cloudbang_api_address": "127.0.0.1"}).splitlines()
    given = {**dict(line.split("=", 1) for line in lines), "KUBECONFIG": node, "CALICO_STARTUP_LOGLEVEL": "INFO"}
    agent = str(programs["calico-node"].path)
    output = ended(start([agent, "-startup"], given))
    found = site.admin.request("GET", f"{NODES}/one")
    assert found["metadata"]["annotations"][ADDRESS] == f"{ADDRESSES['one']}/32", output
    assert {one["type"]: one["status"] for one in found["status"]["conditions"]}["NetworkUnavailable"] == "False"

    daemon = start([agent, "-allocate-tunnel-addrs"], given)
    try:
        eventually(lambda: TUNNEL in site.admin.request("GET", f"{NODES}/one")["metadata"]["annotations"])
    finally:
        daemon.kill()
        output += daemon.communicate()[0]

    network = {"cniVersion": "0.3.1", "name": "cloudbang", "type": "calico", "nodename": "one", "log_level": "Info"}
    network |= {"datastore_type": "kubernetes", "policy": {"type": "k8s"}}
    network |= {"kubernetes": {"kubeconfig": plugin}, "ipam": {"type": "calico-ipam"}}
    names = {"CNI_CONTAINERID": "c0ffee", "CNI_NETNS": "/run/netns/c0ffee", "CNI_IFNAME": "eth0", "CNI_PATH": "/none"}
    names["CNI_ARGS"] = (
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=one-web;K8S_POD_INFRA_CONTAINER_ID=c0ffee"
    )
    ipam = [str(programs["calico-ipam"].path)]

    def blocks() -> list[dict[str, Any]]:
        every = site.admin.request("GET", f"{CRD}/ipamblocks")["items"]
        return [one["spec"] for one in every if one["spec"]["affinity"] == "host:one"]

    def addresses() -> int:
        return sum(entry is not None for one in blocks() for entry in one["allocations"])

    assert addresses() == 1
    added = ended(start(ipam, {**names, "CNI_COMMAND": "ADD"}, json.dumps(network)))
    assert '"address": "10.244.' in added
    assert addresses() == 2
    output += added + ended(start(ipam, {**names, "CNI_COMMAND": "DEL"}, json.dumps(network)))
    assert addresses() == 1
    assert "forbidden" not in output.lower() and "denied" not in output.lower(), output


def test_the_controller_releases_the_addresses_of_a_node_that_is_gone(site: Site) -> None:
    program = ensure(["calico-kube-controllers"], Settings.from_vars({}), print)["calico-kube-controllers"].path
    user = "system:serviceaccount:kube-system:calico-kube-controllers"
    certificate, key = site.api.authority.issue(user, "system:serviceaccounts")
    kubeconfig = site.api.write_kubeconfig("controllers.conf", site.api.authority.pem, certificate, key)
    (deployment,) = [one for one in rendered("kube-controllers.yaml.j2") if one["kind"] == "Deployment"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    given = {one["name"]: one["value"] for one in container["env"]}
    site.remove(f"{PODS}/two-web")
    site.remove(f"{NODES}/two")
    daemon = start([str(program)], {**given, "KUBECONFIG": str(kubeconfig)})

    def left() -> bool:
        found = site.admin.request("GET", f"{CRD}/blockaffinities")["items"]
        return any(one["spec"]["node"] == "two" for one in found)

    try:
        eventually(lambda: not left(), 60)
    finally:
        daemon.kill()
        output = daemon.communicate()[0]
        assert "forbidden" not in output.lower() and "denied" not in output.lower(), output
    assert {one["spec"]["affinity"] for one in site.admin.request("GET", f"{CRD}/ipamblocks")["items"]} == {"host:one"}


@pytest.mark.parametrize("spec", [{"blockSize": 28}, {"cidr": "10.245.0.0/16"}])
def test_what_addresses_depend_on_does_not_change(site: Site, spec: dict[str, Any]) -> None:
    where = f"{CRD}/ippools/default-ipv4-ippool"
    assert "cannot change" in refused(site.admin, "PATCH", where, {"spec": spec})
    site.admin.request("PATCH", where, {}, {"spec": {"vxlanMode": "CrossSubnet"}}, content_type=client.MERGE)


def test_the_settings_are_those_that_the_start_of_an_agent_wants(site: Site) -> None:
    """The agent would write missing settings, and is not allowed to."""
    agent = site.agent("node")
    information = agent.request("GET", f"{CRD}/clusterinformations/default")["spec"]
    assert (information["calicoVersion"], information["datastoreReady"]) == ("v3.28.5", True)
    assert len(information["clusterGUID"]) == 32
    assert set(information["clusterType"].split(",")) == {"k8s", "kdd"}
    felix = agent.request("GET", f"{CRD}/felixconfigurations/default")["spec"]
    assert felix == {"logSeverityScreen": "Warning", "reportingInterval": "0s"}
    assert agent.request("GET", f"{CRD}/ipamconfigs/default")["spec"] == {
        "autoAllocateBlocks": True,
        "strictAffinity": True,
    }
    pool = agent.request("GET", f"{CRD}/ippools/default-ipv4-ippool")["spec"]
    assert (pool["cidr"], pool["blockSize"], pool["natOutgoing"]) == ("10.244.0.0/16", 26, True)
    text = (TEMPLATES / "calico.env.j2").read_text("utf-8")
    assert "NO_DEFAULT_POOLS=true" in text
    assert "CALICO_IPV4POOL" not in text


def may(site: Site, user: dict[str, Any], verb: str, group: str, resource: str) -> bool:
    """Ask the authorizer. resource can have a subresource after a slash."""
    name, _ignored, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": name, "subresource": subresource}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    spec = {**user, "resourceAttributes": attributes}
    where = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool(site.admin.request("POST", where, {}, {**body, "spec": spec})["status"]["allowed"])


def test_the_controller_only_cleans_up_addresses(site: Site) -> None:
    user = {"user": "system:serviceaccount:kube-system:calico-kube-controllers"}
    own, writing = "crd.projectcalico.org", ("create", "update", "delete", "patch")
    for kind in ("blockaffinities", "ipamblocks", "ipamhandles"):
        assert all(may(site, user, verb, own, kind) for verb in ("list", "watch", "create", "update", "delete"))
    for kind in ("nodes", "pods"):
        assert may(site, user, "watch", "", kind)
    found = site.admin.request("GET", CRD)["resources"]
    others = {one["name"] for one in found} - {
        "blockaffinities",
        "ipamblocks",
        "ipamhandles",
        "kubecontrollersconfigurations",
    }
    assert {(verb, kind) for kind in others for verb in writing if may(site, user, verb, own, kind)} == set()
    for kind in ("nodes", "nodes/status", "pods", "pods/status", "secrets"):
        assert not any(may(site, user, verb, "", kind) for verb in writing)


def test_the_controller_runs_on_no_worker() -> None:
    """It can write the blocks of all nodes, and its host can read its token."""
    (deployment,) = [one for one in rendered("kube-controllers.yaml.j2") if one["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"node-role.kubernetes.io/control-plane": ""}
    assert [one["key"] for one in spec["tolerations"]] == ["node-role.kubernetes.io/control-plane"]


def test_the_identity_that_nodes_had_in_common_has_no_rights(site: Site) -> None:
    """Its bindings have other names: the role deletes them when all nodes have identities of their own."""
    former = {one["metadata"]["name"] for one in rendered("former-rbac.yaml.j2")}
    assert former == {"cloudbang:calico-node", "cloudbang:calico-cni"}
    bindings = [one for one in rendered("rbac.yaml.j2") if one["kind"] == "ClusterRoleBinding"]
    assert former.isdisjoint(one["metadata"]["name"] for one in bindings)
    for name in former:
        assert not may(site, {"user": name}, "get", "", "pods")
        assert name not in json.dumps([one["subjects"] for one in bindings if one["subjects"][0]["kind"] == "User"])
