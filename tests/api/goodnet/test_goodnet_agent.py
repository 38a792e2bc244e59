# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole agent, with a real API, a real switch in user space, and pods that exchange real packets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from private_host import PrivateHost, run

from goodnet import agent, config, metrics
from goodnet.cluster import client, objects, tenants
from goodnet.cni import plugin
from goodnet.errors import CniError
from goodnet.host import wiring
from goodnet.host.underlay import BRIDGE as UNDERLAY

from ..conftest import Api
from .conftest import Proxy, eventually
from .test_goodnet_cluster import make_namespace, make_node, make_pod

NODE = "alpha"


@dataclass
class World:
    """A host with its switch, a proxy of the API, and the running agent."""

    host: PrivateHost
    api: client.Api
    proxy: Proxy
    settings: config.Settings
    paths: agent.Paths
    running: agent.Agent
    thread: threading.Thread
    listeners: list[socket.socket] = field(default_factory=list)

    def ask(self, **request: Any) -> dict[str, Any]:
        return plugin.ask({"socket": str(self.paths.run / "agent.sock")}, request, 3)

    def ready(self) -> bool:
        try:
            return bool(self.ask(op="show")["ready"])
        except CniError:
            return False

    def start(self) -> None:
        self.running = agent.Agent(self.settings, self.paths, metrics.Metrics())
        self.thread = threading.Thread(target=self.running.run)
        self.thread.start()

    def stop(self) -> None:
        self.running.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def add(self, namespace: str, name: str) -> str:
        """Create a pod as the API, the kubelet and the runtime do, and return its address."""
        make_pod(self.api, namespace, name, self.settings.node)
        found = self.api.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
        netns = self.host.netns(name)
        run("ip", "netns", "exec", Path(netns).name, "ip", "link", "set", "lo", "up")
        answer = self.ask(
            op="add",
            container=f"c-{name}",
            netns=netns,
            ifname="eth0",
            namespace=namespace,
            name=name,
            uid=found["metadata"]["uid"],
        )
        with wiring._inside(netns):
            self.listeners.append(socket.create_server(("", 80)))
        return str(answer["address"])

    def reaches(self, name: str, address: str, seconds: float = 0.5, port: int = 80) -> bool:
        """Return whether a pod can open a connection to an address."""
        with wiring._inside(f"/run/netns/{self.host.prefix}{name}"), socket.socket() as client:
            client.settimeout(seconds)
            try:
                client.connect((address, port))
            except OSError:
                return False
            return True

    def flows(self) -> list[str]:
        return self.host.flows(agent.BRIDGE)


@contextlib.contextmanager
def running(
    api: Api, directory: Path, name: str, prepare: Callable[[PrivateHost], None], **more: Any
) -> Iterator[World]:
    """Run an agent on a host of its own. prepare gives the host what the settings in more require."""
    proxy = Proxy(int(api.url.rpartition(":")[2]))
    kubeconfig = directory / "kubeconfig"
    with PrivateHost(name) as host, pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent, "_DRIFT_SECONDS", 2.0)
        host.vsctl("add-br", UNDERLAY, "--", "set", "Bridge", UNDERLAY, "datapath_type=netdev")
        run("ip", "addr", "add", "172.16.0.1/24", "dev", UNDERLAY)
        run("ip", "link", "set", UNDERLAY, "up")
        prepare(host)
        proxy.open()
        kubeconfig.write_text(api.kubeconfig.read_text().replace(api.url, f"https://127.0.0.1:{proxy.port}"))
        settings = config.Settings(
            **{
                "node": NODE,
                "kubeconfig": kubeconfig,
                "encapsulation": "vxlan",
                "datapath": "netdev",
                "cluster_cidr": IPv4Network("10.244.0.0/16"),
                "service_cidr": IPv4Network("10.0.0.0/16"),
                "node_networks": (IPv4Network("192.0.2.0/24"),),
                "mtu": None,
                "vni_range": (1, 1000),
                "system_namespaces": frozenset(),
                "edges": frozenset(),
                "manager": True,
                "host_addresses": (),
                "hosts": {},
                "host_ports": (),
                "routed_networks": (),
                "provider": None,
                "metrics": ("127.0.0.1", 9109),
                **more,
            }
        )
        paths = agent.Paths(directory / "run", directory / "state", host.rundir)
        # The test itself also sends its requests through the agent's proxy: it is in the host's network namespace now.
        made = World(host, client.Api(kubeconfig), proxy, settings, paths, None, None)  # type: ignore[arg-type]
        made.start()
        try:
            assert eventually(made.ready, 20), made.running.not_ready
            yield made
        finally:
            made.stop()
            proxy.cut()


def make_cluster(api: Api, node: str, cidr: str, *namespaces: str) -> None:
    own = client.Api(api.kubeconfig)
    make_node(own, node, cidr)
    for name in (objects.NAMESPACE, *namespaces):
        try:
            make_namespace(own, name)
        except client.ApiError as error:
            assert error.status == 409


@pytest.fixture(scope="module")
def world(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    make_cluster(api, NODE, "10.244.1.0/24", "red", "blue")
    with running(api, tmp_path_factory.mktemp("agent"), "agent", lambda _host: None) as made:
        yield made


def test_pods_of_a_tenant_reach_each_other_and_others_do_not(world: World) -> None:
    first, second, other = world.add("red", "r1"), world.add("red", "r2"), world.add("blue", "b1")
    assert world.reaches("r1", second)
    assert world.reaches("r2", first)
    assert not world.reaches("r1", other)
    assert not world.reaches("b1", first)
    found = world.ask(op="trace", source="red/r1", destination="blue/b1")
    assert not found["passes"]
    assert "add red to the peers of the tenant blue" in found["advice"]
    assert world.ask(op="trace", source="red/r1", destination="red/r2")["passes"]
    shown = world.ask(op="show")
    assert [pod["name"] for pod in shown["pods"]] == ["r1", "r2", "b1"]
    assert {"red", "blue", "system"} <= {tenant["name"] for tenant in shown["tenants"]}


def test_a_trace_knows_pods_of_other_hosts(world: World) -> None:
    make_node(world.api, "beta", "10.244.2.0/24")
    make_pod(world.api, "red", "far", "beta")
    with pytest.raises(CniError, match="Pod red/far has no address"):
        world.ask(op="trace", source="red/r1", destination="red/far")
    status = {"status": {"podIP": "10.244.2.9", "podIPs": [{"ip": "10.244.2.9"}]}}
    path = "/api/v1/namespaces/red/pods/far/status"
    world.api.request("PATCH", path, body=status, content_type=client.MERGE)
    assert eventually(lambda: "beta" in {host["name"] for host in world.ask(op="show")["hosts"]})
    found = world.ask(op="trace", source="red/r1", destination="red/far")
    assert "through the tunnel to host beta" in found["verdict"]
    found = world.ask(op="trace", source="red/far", destination="red/r1")
    assert found["passes"]
    assert "it says that the sender is of tenant red" in " ".join(found["steps"])
    assert not world.ask(op="trace", source="red/far", destination="blue/b1")["passes"]
    with pytest.raises(CniError, match="Pod red/none is not on alpha, and the API answered 404"):
        world.ask(op="trace", source="red/none", destination="red/r1")


def test_the_other_hosts_learn_where_tunnels_end(world: World) -> None:
    def told() -> str | None:
        annotations = world.api.request("GET", f"/api/v1/nodes/{NODE}")["metadata"].get("annotations") or {}
        return annotations.get(objects.ANNOTATION_UNDERLAY)

    assert eventually(lambda: told() == "172.16.0.1")


def test_a_tunnel_endpoint_that_the_api_refuses_is_told(world: World) -> None:
    root, name = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic", "taken"
    mark = f"object.metadata.?annotations[?'{objects.ANNOTATION_UNDERLAY}']"
    rules = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes"]}
    spec: dict[str, Any] = {
        "matchConstraints": {"resourceRules": [rules]},
        "validations": [{"expression": f"{mark}.orValue('') != '172.16.0.1'", "message": "it is an address of beta"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    for ending, kind, content in (("ies", "Policy", spec), ("ybindings", "PolicyBinding", binding)):
        body = {**head, "kind": f"ValidatingAdmission{kind}", "spec": content}
        world.api.request("POST", root + ending, body=body)

    def write(value: str | None, **query: str) -> bool:
        body = {"metadata": {"annotations": {objects.ANNOTATION_UNDERLAY: value}}}
        try:
            world.api.request("PATCH", f"/api/v1/nodes/{NODE}", query, body, content_type=client.MERGE)
        except client.ApiError:
            return False
        return True

    def said() -> list[str]:
        events = world.api.request("GET", "/api/v1/events")["items"]
        return [one["message"] for one in events if one["reason"] == "UnderlayRefused"]

    def written() -> bool:
        node = world.api.request("GET", f"/api/v1/nodes/{NODE}")
        return bool((node["metadata"].get("annotations") or {}).get(objects.ANNOTATION_UNDERLAY) == "172.16.0.1")

    try:
        assert eventually(lambda: not write("172.16.0.1", dryRun="All"))
        assert write(None)
        assert eventually(lambda: any("it is an address of beta" in text for text in said()))
        assert not written()
    finally:
        for ending in ("ybindings", "ies"):
            world.api.request("DELETE", f"{root}{ending}/{name}")
    assert eventually(written)


def test_a_peer_is_let_in_and_out_again(world: World) -> None:
    address = world.ask(op="show")["pods"][2]["address"]
    for peers, passes in (("red", True), (None, False)):
        body = {"metadata": {"annotations": {"cloudbang.platform/peers": peers}}}
        world.api.request("PATCH", "/api/v1/namespaces/blue", body=body, content_type=client.MERGE)
        assert eventually(lambda passes=passes: world.reaches("r1", address) is passes)  # type: ignore[misc]


def test_a_namespace_moves_to_another_tenant(world: World) -> None:
    address = world.ask(op="show")["pods"][2]["address"]
    for tenant, passes in (("red", True), ("blue", False)):
        body = {"metadata": {"labels": {"cloudbang.platform/tenant": tenant}}}
        world.api.request("PATCH", "/api/v1/namespaces/blue", body=body, content_type=client.MERGE)
        assert eventually(lambda passes=passes: world.reaches("r1", address) is passes)  # type: ignore[misc]


def test_a_policy_is_in_force_and_gone_again(world: World) -> None:
    address = world.ask(op="show")["pods"][1]["address"]
    path = "/apis/networking.k8s.io/v1/namespaces/red/networkpolicies"
    spec = {"podSelector": {"matchLabels": {"app": "r2"}}, "policyTypes": ["Ingress"], "ingress": []}
    world.api.request("POST", path, body={"metadata": {"name": "closed"}, "spec": spec})
    assert eventually(lambda: not world.reaches("r1", address))
    found = world.ask(op="trace", source="red/r1", destination="red/r2")
    assert "NetworkPolicy red/closed" in found["verdict"]
    # An agent with a policy that selects other pods by label has to know these pods.
    spec["ingress"] = [{"from": [{"podSelector": {"matchLabels": {"app": "r1"}}}]}]
    world.api.request("PATCH", f"{path}/closed", body={"spec": spec}, content_type=client.MERGE)
    assert eventually(lambda: world.reaches("r1", address))
    assert world.running.cluster.in_contact["pods/red"]
    world.api.request("DELETE", f"{path}/closed")
    assert eventually(lambda: world.ask(op="show")["policies"] == [])


def test_the_switch_hears_of_other_hosts_before_it_sends_to_them(world: World) -> None:
    make_node(world.api, "gamma", "10.244.3.0/24")
    annotations = {objects.ANNOTATION_UNDERLAY: "172.16.0.3"}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.bind((UNDERLAY, 3))
        wire.settimeout(10)
        body = {"metadata": {"annotations": annotations}}
        world.api.request("PATCH", "/api/v1/nodes/gamma", body=body, content_type=client.MERGE)
        for _ignored in range(2):
            while (frame := wire.recv(2000))[12:14] != b"\x08\x06" or frame[38:42] != bytes((172, 16, 0, 3)):
                pass
            # As after a restart of the switch.
            world.running.duties.neighbours_lost()


def test_policies_hold_for_the_service_of_the_api(world: World) -> None:
    """kube-proxy forwards packets for this Service to a host, so policies have to be checked before."""
    slices = world.api.request("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    (endpoint,), (port,) = slices["endpoints"], slices["ports"]
    rules = """
        table ip services {
            chain services {
                type nat hook prerouting priority dstnat
                ip daddr 10.0.0.1 tcp dport 443 dnat to 172.16.0.1:6443
            }
        }
    """
    run("nft", "-f", "-", input=rules)
    path = "/apis/networking.k8s.io/v1/namespaces/red/networkpolicies"
    spec: dict[str, Any] = {"podSelector": {"matchLabels": {"app": "r1"}}, "policyTypes": ["Egress"], "egress": []}
    block = {"ipBlock": {"cidr": f"{endpoint['addresses'][0]}/32"}}
    with socket.create_server(("172.16.0.1", 6443)):
        assert eventually(lambda: world.reaches("r1", "10.0.0.1", port=443))
        world.api.request("POST", path, body={"metadata": {"name": "shut"}, "spec": spec})
        assert eventually(lambda: not world.reaches("r1", "10.0.0.1", port=443))
        assert world.reaches("r2", "10.0.0.1", port=443)
        spec["egress"] = [{"to": [block], "ports": [{"port": port["port"]}]}]
        world.api.request("PATCH", f"{path}/shut", body={"spec": spec}, content_type=client.MERGE)
        assert eventually(lambda: world.reaches("r1", "10.0.0.1", port=443))
    world.api.request("DELETE", f"{path}/shut")
    assert eventually(lambda: world.ask(op="show")["policies"] == [])


def test_flows_that_somebody_removed_come_back(world: World) -> None:
    before = world.flows()
    target = f"unix:{world.host.rundir}/{agent.BRIDGE}.mgmt"
    run("ovs-ofctl", "-O", "OpenFlow14", "del-flows", target, "table=80")
    assert world.flows() != before
    assert eventually(lambda: world.flows() == before)


def test_a_switch_that_starts_again_has_its_flows_within_five_seconds(world: World) -> None:
    before = world.flows()
    address = world.ask(op="show")["pods"][1]["address"]
    world.host.stop_switch()
    world.host.start_switch()
    began = time.monotonic()
    assert eventually(lambda: world.flows() == before and world.reaches("r1", address), 10)
    assert time.monotonic() - began < 5
    # The host reaches its pods again, too: its own port was recreated.
    assert eventually(lambda: world.reaches("host", address))


def test_traffic_goes_on_without_agent_and_without_api(world: World) -> None:
    """The agent is restarted while the API is unavailable, and computes the same flows from its copy on disk."""
    before = world.flows()
    address = world.ask(op="show")["pods"][1]["address"]
    world.running.cluster.save()
    world.stop()
    assert world.flows() == before
    assert world.reaches("r1", address)
    world.proxy.cut()
    world.start()
    assert eventually(world.ready, 20), world.running.not_ready
    assert world.flows() == before
    assert world.reaches("r1", address)
    world.proxy.open()
    assert eventually(lambda: all(world.ask(op="show")["lists"].values()), 40)
    assert world.flows() == before


def test_the_process_that_systemd_runs(world: World, tmp_path: Path) -> None:
    before = world.flows()
    address = world.ask(op="show")["pods"][1]["address"]
    world.stop()
    settings = {
        "node": NODE,
        "kubeconfig": str(world.settings.kubeconfig),
        "encapsulation": "vxlan",
        "datapath": "netdev",
        "cluster_cidr": "10.244.0.0/16",
        "service_cidr": "10.0.0.0/16",
        "node_networks": ["192.0.2.0/24"],
    }
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "goodnet.agent", "--config", str(file)]
    for name in ("run", "state", "switch"):
        command += [f"--{name}-directory", str(getattr(world.paths, name))]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        paths = [str(Path(agent.__file__).parents[1]), *sys.path]
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "PYTHONPATH": ":".join(paths)}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert systemd.recv(1000).decode().startswith("READY=1")
                while "STATUS=ready" not in systemd.recv(1000).decode():
                    pass
                assert eventually(world.ready)
                with urllib.request.urlopen("http://127.0.0.1:9109/metrics") as answer:
                    figures = answer.read().decode()
                assert 'goodnet_objects{kind="pods"} 3.0' in figures
                assert 'goodnet_watch_in_contact{resource="nodes"}' in figures
                assert world.flows() == before
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
            finally:
                process.kill()
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()
    assert world.flows() == before
    assert world.reaches("r1", address)
    world.start()
    assert eventually(world.ready)


def test_no_connection_fails_while_the_agent_starts_again(world: World) -> None:
    address = world.ask(op="show")["pods"][1]["address"]
    outcomes: list[bool] = []
    over = threading.Event()

    def load() -> None:
        # A busy machine may lose a packet, which is sent again after a second.
        while not over.wait(0.01):
            outcomes.append(world.reaches("r1", address, 5))

    # Accept connections, so that none fails because the listener's queue is full.
    world.listeners[1].settimeout(0.1)
    threads = [threading.Thread(target=load), threading.Thread(target=drain, args=(world.listeners[1], over))]
    for thread in threads:
        thread.start()
    for _turn in range(2):
        world.stop()
        world.start()
        assert eventually(world.ready)
    over.set()
    for thread in threads:
        thread.join()
    assert len(outcomes) > 30
    assert all(outcomes)


def drain(listener: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            listener.accept()[0].close()


def test_the_database_starts_again(world: World) -> None:
    before = world.flows()
    world.host.stop_database()
    world.host.start_database()
    address = world.add("red", "r3")
    assert world.reaches("r1", address)
    world.ask(op="del", container="c-r3", netns="", ifname="eth0")
    assert world.flows() == before


def test_what_the_kernel_lost_is_set_again(world: World) -> None:
    run("ip", "addr", "flush", "dev", agent.HOST_PORT)
    assert eventually(lambda: "10.244.1.1/32" in run("ip", "-4", "addr", "show", "dev", agent.HOST_PORT))
    # These are restored one after the other.
    assert eventually(lambda: "via 169.254.1.1" in run("ip", "route", "show", "10.244.0.0/16"))
    assert eventually(lambda: "masquerade" in run("nft", "list", "table", "ip", "goodnet"))


def test_a_tenant_without_number_is_told_in_an_event(world: World) -> None:
    world.running.settings = replace(world.running.settings, vni_range=(1, 2))
    make_namespace(world.api, "late")
    with pytest.raises(CniError, match="no VNI is free for late: found all of 1 to 2 in use"):
        world.add("late", "l1")
    # Other namespaces of the cluster may be tenants without a number, too, so only this one's events are read.
    path = "/api/v1/namespaces/late/events"

    def reasons() -> set[str]:
        return {item["reason"] for item in world.api.request("GET", path)["items"]}

    assert eventually(lambda: "VniExhausted" in reasons(), 20)
    world.running.settings = replace(world.running.settings, vni_range=(1, 1000))
    assert world.add("late", "l2").startswith("10.244.1.")
    world.ask(op="del", container="c-l2", netns="", ifname="eth0")


def test_a_host_that_gives_no_numbers_waits_for_one_that_does(world: World) -> None:
    world.running.settings = replace(world.running.settings, manager=False)
    try:
        make_namespace(world.api, "new")
        with pytest.raises(CniError, match="Tenant new of namespace new has no usable VNI"):
            world.add("new", "n1")
        given = tenants.allocate(world.api, ["new"], (900, 1000))
        assert given["new"] == '{"vni": 900}'
        assert world.add("new", "n2").startswith("10.244.1.")
        world.ask(op="del", container="c-n2", netns="", ifname="eth0")
    finally:
        world.running.settings = replace(world.running.settings, manager=True)


def test_pods_go(world: World) -> None:
    for name in ("r1", "r2", "b1"):
        world.ask(op="del", container=f"c-{name}", netns="", ifname="eth0")
    assert world.ask(op="show")["pods"] == []
    assert not [flow for flow in world.flows() if "10.244.1.2" in flow and "/24" not in flow]


def test_keepalived_may_say_its_word_at_any_time(world: World) -> None:
    """This host is not an edge host, so the state is accepted but changes nothing."""
    assert world.ask(op="provider") == {"ok": True, "master": False}
