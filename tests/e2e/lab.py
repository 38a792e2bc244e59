# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by the end-to-end tests: the lab, its API, and clients that send requests continuously."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shlex
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from support import ssh

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure

ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = Path(os.environ.get("CLOUDBANG_LAB", ROOT / "build" / "lab")).resolve()
STATE = DIRECTORY / "cluster"
INVENTORY = ROOT / "inventories" / "lab"
REPORT = ROOT / "build" / "e2e" / "measurements.json"
IMAGE = "registry.cloudbang.internal:5000/demo/httpbin:1"
VIP = "10.92.0.100"
NETWORK = os.environ.get("CLOUDBANG_NETWORK", "calico")
DEMO_DOMAIN = "httpbin.example.org"


def wait_for(what: str, check: Callable[[], Any], seconds: float = 60, pause: float = 0.5) -> Any:
    """Return the first true value of check, or fail with the last one."""
    deadline = time.monotonic() + seconds
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = check()
            if last:
                return last
        except Exception as error:
            last = error
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {seconds:.0f} s; the last answer was {last!r}")


def run(*command: str | Path, seconds: float = 60, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command and show its output when it fails."""
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=seconds, check=False, cwd=ROOT, **more
    )
    if check and result.returncode:
        raise AssertionError(
            f"{' '.join(map(str, command))}: {result.returncode}\n{result.stdout[-4000:]}{result.stderr[-4000:]}"
        )
    return result


@dataclass
class Play:
    """The result of a playbook run: changed tasks, counters and results by host."""

    returncode: int
    stats: dict[str, dict[str, int]]
    tasks: list[tuple[str, str, dict[str, Any]]]
    text: str

    @property
    def changed(self) -> dict[str, list[str]]:
        """Return the tasks that changed something, by host."""
        found: dict[str, list[str]] = {}
        for task, host, result in self.tasks:
            if result.get("changed"):
                found.setdefault(host, []).append(task)
        return found

    def result(self, task: str, host: str = "localhost") -> dict[str, Any]:
        return next(result for name, at, result in self.tasks if name == task and at == host)


@dataclass
class Node:
    name: str
    address: str
    groups: tuple[str, ...]

    @property
    def container(self) -> str:
        return f"cloudbang-lab-{self.name}"

    def sh(self, script: str, seconds: float = 60, check: bool = True, program: str = "sh") -> str:
        """Run a script on the node over SSH and return its output."""
        options = ["-i", DIRECTORY / "id_ed25519", *ssh.options(DIRECTORY / "known_hosts")]
        return run(
            "ssh", *options, f"root@{self.address}", program + " -", seconds=seconds, check=check, input=script
        ).stdout

    def stop(self) -> None:
        """Cut the node's power."""
        run("docker", "kill", self.container)

    def start(self) -> None:
        run("docker", "start", self.container)

    def booted(self) -> None:
        """Wait until systemd has started everything."""
        wait_for(
            f"{self.name} is running",
            lambda: self.sh("systemctl is-system-running", seconds=15, check=False).strip() == "running",
            seconds=90,
        )


@dataclass
class Lab:
    nodes: dict[str, Node]
    kubeconfig: Path
    kubectl_path: Path
    measurements: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Lab:
        hosts = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"]
        nodes: dict[str, Node] = {}
        for group, content in hosts.items():
            for name, variables in content["hosts"].items():
                groups = nodes[name].groups if name in nodes else ()
                nodes[name] = Node(name, variables["ansible_host"], (*groups, group))
        kubectl = ensure(["kubectl"], Settings.from_vars({}), lambda message: None)["kubectl"]
        lab = cls(nodes, DIRECTORY / "admin.conf", Path(kubectl.path))
        if REPORT.exists():
            lab.measurements = json.loads(REPORT.read_text())
        return lab

    def group(self, *names: str) -> list[Node]:
        return [node for node in self.nodes.values() if set(names) & set(node.groups)]

    @property
    def kubernetes_nodes(self) -> list[Node]:
        return self.group("management", "compute", "loadbalancer")

    def api(self) -> client.ApiClient:
        return config.new_client_from_config(str(self.kubeconfig))

    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api())

    def kubectl(self, *arguments: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        return run(self.kubectl_path, "--kubeconfig", self.kubeconfig, *arguments, check=check, **more)

    def python(self, namespace: str, pod: str, code: str) -> str:
        """Run Python in a pod."""
        return self.kubectl("exec", "-n", namespace, pod, "--", "python3", "-c", code).stdout

    def measured(self, name: str, value: Any) -> None:
        """Record and print a measurement."""
        self.measurements[name] = value
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps(self.measurements, indent=2, sort_keys=True) + "\n")
        print(f"\n    {name}: {value}")

    def command(self, playbook: str | Path, *arguments: str) -> list[str]:
        return ["ansible-playbook", "-i", str(INVENTORY), *arguments, str(playbook)]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_DEPRECATION_WARNINGS": "false",
            "K8S_AUTH_KUBECONFIG": str(self.kubeconfig),
            "KUBECONFIG": str(self.kubeconfig),
        }

    def play(self, playbook: str | Path, *arguments: str, check: bool = True, seconds: float = 300) -> Play:
        """Run a playbook and return its result."""
        done = run(*self.command(playbook, *arguments), seconds=seconds, check=False, env=self.environment())
        text = done.stdout + done.stderr
        stats: dict[str, dict[str, int]] = {}
        tasks: list[tuple[str, str, dict[str, Any]]] = []
        start = done.stdout.find("{\n")
        if start >= 0:
            content, _end = json.JSONDecoder().raw_decode(done.stdout[start:])
            stats = content["stats"]
            for play in content["plays"]:
                for task in play["tasks"]:
                    for host, result in task["hosts"].items():
                        tasks.append((task["task"]["name"], host, result))
        found = Play(done.returncode, stats, tasks, text)
        if check and done.returncode:
            failures = [
                (task, host, result)
                for task, host, result in tasks
                if result.get("failed") or result.get("unreachable")
            ]
            raise AssertionError(f"{playbook} ended with {done.returncode}: {failures or text[-4000:]}")
        return found

    def tls(self) -> ssl.SSLContext:
        """Return a context with the administrator's certificate."""
        content = yaml.safe_load(self.kubeconfig.read_text())
        user = content["users"][0]["user"]
        authority = base64.b64decode(content["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.TemporaryDirectory() as directory:
            names = []
            for key in ("client-certificate-data", "client-key-data"):
                path = Path(directory, key)
                path.touch(mode=0o600)
                path.write_bytes(base64.b64decode(user[key]))
                names.append(path)
            context.load_cert_chain(*names)
        return context

    def vip_holder(self) -> Node:
        for node in self.group("loadbalancer"):
            if f"{VIP}/" in node.sh("ip -4 -brief address", check=False):
                return node
        raise AssertionError(f"no load balancer holds {VIP}")

    def healthy(self, seconds: float = 120, names: set[str] | None = None) -> None:
        """Wait until all nodes are ready, all system pods run, and all etcd members are healthy."""
        wanted = names or {node.name for node in self.kubernetes_nodes}

        def ready() -> bool:
            core = self.core()
            found = {
                item.metadata.name
                for item in core.list_node(_request_timeout=5).items
                if any(condition.type == "Ready" and condition.status == "True" for condition in item.status.conditions)
            }
            assert found >= wanted, f"nodes that are not ready: {sorted(wanted - found)}"
            for pod in core.list_namespaced_pod("kube-system", _request_timeout=5).items:
                states = pod.status.container_statuses or []
                assert states and all(state.ready for state in states), f"{pod.metadata.name} is not ready"
            return True

        wait_for("the cluster is healthy", ready, seconds=seconds, pause=1)
        member = self.group("management")[0]
        wait_for(
            "all members of etcd are healthy", lambda: etcdctl(member, "endpoint health --cluster") or True, seconds=60
        )


def in_network_of(container: str) -> str:
    """Return the prefix of a command line that runs it in the network of a container (its ID), on its node."""
    return f"nsenter --target $(ctr --namespace=k8s.io tasks ls | awk '$1 == \"{container}\" {{print $2}}') --net"


def inside(node: Node, unit: str, script: str) -> str:
    """Return the output of a script that runs with the user and the mounts of a unit's main process."""
    program = Path(__file__).with_name("inside.sh").read_text()
    return node.sh(f"sh -c {shlex.quote(program)} inside {unit} {shlex.quote(script)} 2>&1", check=False)


def etcdctl(node: Node, arguments: str) -> str:
    pki = "/etc/etcd/pki"
    return node.sh(
        f"etcdctl --endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.crt --cert={pki}/client.crt "
        f"--key={pki}/client.key {arguments} 2>&1"
    )


@dataclass
class Traffic:
    """The observations of clients that send requests continuously."""

    sent: int = 0
    failures: list[str] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def gap(self) -> float:
        """Return the longest time without an answer, in seconds."""
        times = sorted([self.started, *self.answered])
        return max((after - before for before, after in zip(times, times[1:])), default=float("inf"))

    @property
    def p99(self) -> float:
        """Return the 99th percentile of the latency, in seconds from the time at which a request was due."""
        return sorted(self.latencies)[int(len(self.latencies) * 0.99)] if self.latencies else float("inf")


@contextmanager
def traffic(
    address: str,
    port: int,
    path: str,
    headers: dict[str, str],
    tls: ssl.SSLContext | None = None,
    keep_alive: bool = True,
    clients: int = 2,
    pause: float = 0.02,
    timeout: float = 5,
    rate: float | None = None,
    source: str | None = None,
) -> Iterator[Traffic]:
    """Send requests until the block ends. A request without an answer of status 200 is a failure and is not repeated.

    source is the address to send from. With rate, all clients together send that many requests a second, also while
    answers are slow; without it, each client sends its next request a pause after an answer.
    """
    seen = Traffic()
    lock = threading.Lock()
    stop = threading.Event()

    def ask(number: int) -> None:
        connection: http.client.HTTPConnection | None = None
        due = seen.started + (number / rate if rate else 0)
        while not stop.wait(max(due - time.monotonic(), 0)):
            try:
                if connection is None:
                    by = (source, 0) if source else None
                    connection = (
                        http.client.HTTPSConnection(address, port, timeout=timeout, source_address=by, context=tls)
                        if tls
                        else http.client.HTTPConnection(address, port, timeout=timeout, source_address=by)
                    )
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                body = answer.read()
                problem = "" if answer.status == 200 else f"{answer.status} {body[:80]!r}"
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
            now = time.monotonic()
            with lock:
                seen.sent += 1
                if problem:
                    seen.failures.append(f"{now - seen.started:.2f} s: {problem}")
                else:
                    seen.answered.append(now)
                    seen.latencies.append(now - due)
            if connection and (problem or not keep_alive):
                connection.close()
                connection = None
            due = due + clients / rate if rate else now + pause
        if connection:
            connection.close()

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join(timeout + 2)


def refused(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, port)) != 0
