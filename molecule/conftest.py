# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all scenarios share: their hosts, and ways to run Ansible on them again."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from testinfra.backend.base import CommandResult
from testinfra.host import Host

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
INVENTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory"
BUILD = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "build" / "molecule" / os.environ["MOLECULE_SCENARIO_NAME"]
STATE = BUILD / "state"


def run(*command: str, environment: dict[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command on the controller; the caller judges the exit code."""
    return subprocess.run(
        command,
        cwd=SCENARIO,
        input=stdin,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def json_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the JSON at the end of a program's output."""
    # Before it may be what modules have told of their progress.
    found = re.search(r"^\{$", result.stdout, re.MULTILINE)
    if found is None:
        raise AssertionError(f"exit code {result.returncode}, no result:\n{result.stdout}\n{result.stderr}")
    return dict(json.loads(result.stdout[found.start() :]))


def converge(*arguments: str, playbook: str = "converge.yml") -> dict[str, Any]:
    """Run the scenario's playbook once more. Return what the json callback prints: plays, and stats by host."""
    result = run(
        "ansible-playbook",
        f"--inventory={INVENTORY}",
        *arguments,
        str(SCENARIO / playbook),
        environment={"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
    )
    report = json_of(result)
    assert result.returncode == 0, failures(report) or result.stderr
    return report


def outcomes(report: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return "host: task" and the result of each task on each host."""
    for play in report["plays"]:
        for task in play["tasks"]:
            for host, outcome in task["hosts"].items():
                yield f"{host}: {task['task']['name']}", outcome


def failures(report: dict[str, Any]) -> list[str]:
    """Return one line for each failed task of each host."""
    return [
        f"{where}: {outcome.get('msg')}"
        for where, outcome in outcomes(report)
        if outcome.get("failed") or outcome.get("unreachable")
    ]


def changes(report: dict[str, Any]) -> list[str]:
    """Return one line for each task that changed a host."""
    return [where for where, outcome in outcomes(report) if outcome.get("changed")]


def module(host: str, name: str, /, **options: Any) -> dict[str, Any]:
    """Run one module on one host. Return its result, also when it failed."""
    result = run(
        "ansible",
        f"--inventory={INVENTORY}",
        host,
        "--module-name",
        name,
        "--args",
        json.dumps(options),
        environment={"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true"},
    )
    return dict(json_of(result)["plays"][0]["tasks"][0]["hosts"][host])


def wait_for(check: Callable[[], Any], seconds: float = 30) -> Any:
    """Return what check returns as soon as that is true; fail when it stays false."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"still {found!r} after {seconds} s"
        time.sleep(0.5)
    return found


@cache
def inventory() -> dict[str, Any]:
    """Return the inventory as ansible-inventory --list has it. Asking for it takes more than a second."""
    return json_of(run("ansible-inventory", f"--inventory={INVENTORY}", "--list"))


def node(name: str) -> Host:
    """Return testinfra's view of a node, by its name in the inventory."""
    address = inventory()["_meta"]["hostvars"][name]["ansible_host"]
    options = f"-o IdentitiesOnly=yes -o UserKnownHostsFile={BUILD}/known_hosts"
    return testinfra.get_host(
        f"ssh://root@{address}", ssh_identity_file=str(BUILD / "id_ed25519"), ssh_extra_args=options
    )


def inside(host: str, unit: str, script: str) -> CommandResult:
    """Run a script as the main process of a unit sees its host; the caller judges the exit code."""
    program = (Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "tests/e2e/inside.sh").read_text("utf-8")
    return node(host).run("sh -c %s inside %s %s", program, unit, script)


def confined(host: str, unit: str, *own: str) -> None:
    """Assert that a unit reads no secret but its own, and reaches neither systemd nor the container runtime."""
    files = (
        "/etc/kubernetes /etc/etcd /etc/traefik /etc/calico /etc/goodnet /etc/cloudbang-registry /etc/containerd "
        "/run/openvswitch /var/lib/kubelet"
    )
    secret = f"find {files} /var/lib/kube-proxy /var/lib/etcd /root/.ssh -type f ! -perm -004 2>/dev/null"
    there = set(node(host).run(secret).stdout.split())
    readable = inside(
        host, unit, f"for path in {' '.join(sorted(there))}; do cat $path >/dev/null 2>&1 && echo $path; done"
    )
    assert set(own) <= there
    assert set(readable.stdout.split()) == set(own)
    assert inside(host, unit, "true").rc == 0
    assert inside(host, unit, "systemd-run --quiet --wait true").rc != 0
    assert inside(host, unit, "curl --silent --unix-socket /run/dbus/system_bus_socket http://x/").rc == 7
    assert inside(host, unit, "curl --silent --unix-socket /run/containerd/containerd.sock http://x/").rc == 7
    assert inside(host, unit, "touch /etc/mine || touch /var/lib/mine || touch /usr/local/bin/mine").rc != 0
    uid = inside(host, unit, "id --user").stdout.strip()
    owners = inside(host, unit, "stat --format=%u /proc/[0-9]*").stdout.split()
    assert uid != "0"
    assert set(owners) == {uid}


@cache
def _kubectl_path() -> str:
    return str(module("localhost", "cloudbang.platform.artifacts", names=["kubectl"])["artifacts"]["kubectl"]["path"])


def try_kubectl(*arguments: str, manifest: str = "") -> subprocess.CompletedProcess[str]:
    """Run kubectl on the controller as the administrator; the caller judges the exit code.

    ``manifest`` is what ``--filename=-`` reads.
    """
    return run(
        _kubectl_path(),
        f"--kubeconfig={STATE}/admin.conf",
        *arguments,
        environment={"NO_PROXY": "*", "no_proxy": "*"},
        stdin=manifest,
    )


def kubectl(*arguments: str, manifest: str = "") -> str:
    """Run kubectl on the controller as the administrator. Return its output without the last line end."""
    result = try_kubectl(*arguments, manifest=manifest)
    assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr}"
    return result.stdout.rstrip("\n")


def objects(what: str, *arguments: str) -> list[dict[str, Any]]:
    """Return the objects of a kind, as the API has them."""
    return list(json.loads(kubectl("get", what, "--output=json", *arguments))["items"])


# The platform's own image is a web server too, which answers /health at port 8080.
WEB_PORT = 8080
WEB_SPEC: dict[str, Any] = {
    "containers": [
        {
            "name": "web",
            "image": "registry.cloudbang.internal:5000/coredns:current",
            "args": ["-conf", "/etc/web/Corefile"],
            "readinessProbe": {"httpGet": {"path": "/health", "port": WEB_PORT}, "periodSeconds": 1},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}],
        }
    ],
    "volumes": [{"name": "config", "configMap": {"name": "web"}}],
}


def web_config(**metadata: Any) -> dict[str, Any]:
    """Return the ConfigMap that web servers of a namespace need."""
    corefile = f".:1053 {{\n    health :{WEB_PORT}\n    errors\n}}\n"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web", **metadata},
        "data": {"Corefile": corefile},
    }


def web_pod(metadata: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a pod that is a web server and ends at once."""
    spec = {**WEB_SPEC, "terminationGracePeriodSeconds": 0, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def web_service(selector: dict[str, str], kind: str = "ClusterIP", **metadata: Any) -> dict[str, Any]:
    """Return the Service ``web``, whose port 80 leads to the web servers with these labels."""
    spec = {"type": kind, "selector": selector, "ports": [{"port": 80, "targetPort": WEB_PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", **metadata}, "spec": spec}


def web_ingress(*hosts: str, **spec: Any) -> dict[str, Any]:
    """Return the Ingress that gives these hosts to the Service ``web``."""
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rules = [
        {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}} for host in hosts
    ]
    spec = {"ingressClassName": "cloudbang", "rules": rules, **spec}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": spec}


def manifest_of(*objects: dict[str, Any]) -> str:
    """Return objects as what ``kubectl apply`` reads."""
    return "---\n".join(yaml.safe_dump(one) for one in objects)


def in_pod(pod: dict[str, Any], command: str) -> CommandResult:
    """Run a program of the node with the network and the resolv.conf of a pod; the caller judges the exit code."""
    identifier = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    script = (
        f"pid=$(ctr --namespace=k8s.io tasks ls | awk '$1 == \"{identifier}\" {{print $2}}') && "
        # The pod's own file is in another mount namespace, from where it cannot be bound.
        f"cat /proc/$pid/root/etc/resolv.conf > /run/resolv.conf.{identifier} && "
        f"nsenter --target $pid --net unshare --mount sh -c "
        + shlex.quote(f"mount --bind /run/resolv.conf.{identifier} /etc/resolv.conf && {command}")
    )
    return node(pod["spec"]["nodeName"]).run(script)


sys.path.insert(0, str(Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "build" / "collections"))
sys.path.insert(0, str(Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule" / "shared"))
# Tests import the functions above as a module.
sys.modules.setdefault("scenario", sys.modules[__name__])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what disturbs the nodes last."""
    items.sort(key=lambda item: item.get_closest_marker("disruptive") is not None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "disruptive: breaks something that the test then has repaired")
