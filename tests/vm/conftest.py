# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests on a virtual machine, which has a kernel of its own: `make vm`.

The machine is installed once for each network, in the state in which a distribution leaves it, and removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / "build" / "collections"
if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))

from .machine import ADDRESS, VIP, Machine, run

DIRECTORY = ROOT / "build" / "vm"


@dataclass
class Platform:
    """The platform on the machine, with the network that it was installed with."""

    machine: Machine
    network: str
    seconds: dict[str, float]

    def play(self, playbook: str, *arguments: str, fails: bool = False) -> dict[str, int]:
        """Run a playbook, which must succeed or fail; return the numbers of the machine's line in its recap."""
        log = DIRECTORY / f"{self.network}-{playbook.rpartition('.')[2]}.log"
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "KUBECONFIG": str(self.kubeconfig)}
        command = ["ansible-playbook", "-i", str(self.inventory), *arguments, playbook]
        begin = time.monotonic()
        with log.open("w") as stream:
            done = subprocess.run(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream, check=False)
        self.seconds[playbook] = time.monotonic() - begin
        text = log.read_text()
        assert bool(done.returncode) == fails, (
            f"{playbook} ended with {done.returncode}; the end of {log}:\n{text[-4000:]}"
        )
        line = next(line for line in text.splitlines() if line.startswith("node1 ") and "unreachable=" in line)
        return {name: int(value) for name, value in (word.split("=") for word in line.split()[2:])}

    @property
    def inventory(self) -> Path:
        return DIRECTORY / "hosts.yml"

    @property
    def kubeconfig(self) -> Path:
        return DIRECTORY / "cluster" / "admin.conf"

    def write_inventory(self) -> None:
        """Write an inventory with nothing but what each operator has to say."""
        options = f"-o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={self.machine.known_hosts}"
        hosts = {"hosts": {"node1": {"ansible_host": ADDRESS}}}
        variables = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.machine.key),
            "ansible_ssh_common_args": options,
            "cloudbang_cluster_name": "vm",
            "cloudbang_network": self.network,
            "cloudbang_api_vip": VIP,
            "cloudbang_state_dir": str(DIRECTORY / "cluster"),
            "kube_control_plane_admin_kubeconfig": str(self.kubeconfig),
            "admission_shared_images": ["shared/", "demo/"],
        }
        groups = dict.fromkeys(("management", "compute", "loadbalancer", "storage"), hosts)
        self.inventory.write_text(json.dumps({"all": {"children": groups, "vars": variables}}, indent=2))

    def kubectl(self, *arguments: str) -> str:
        return self.machine.sh(f"kubectl --kubeconfig=/etc/kubernetes/super-admin.conf {' '.join(arguments)}")

    def objects(self, what: str) -> list[dict[str, Any]]:
        return list(json.loads(self.kubectl("get", what, "--output=json"))["items"])

    def configured(self) -> dict[str, Any]:
        """Return the configuration of the running kubelet."""
        answer = self.kubectl("get", "--raw", "/api/v1/nodes/node1/proxy/configz")
        return dict(json.loads(answer)["kubeletconfig"])


@pytest.fixture(scope="session", params=["calico", "goodnet"])
def bare(request: pytest.FixtureRequest, say: Any) -> Iterator[Platform]:
    """The machine as its distribution and its former use left it."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    machine = Machine(DIRECTORY, say)
    with machine.booted():
        found = Platform(machine, request.param, {})
        run("rm", "-rf", DIRECTORY / "cluster")
        found.write_inventory()
        yield found


@pytest.fixture(scope="session")
def platform(bare: Platform, say: Any) -> Platform:
    recap = bare.play("cloudbang.platform.site")
    assert (recap["failed"], recap["unreachable"]) == (0, 0)
    say(f"{bare.network}: site took {bare.seconds['cloudbang.platform.site']:.0f} s")
    return bare


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Any:
    """Return a function that prints at once, since the machine takes minutes."""
    manager = request.config.pluginmanager.getplugin("capturemanager")

    def print_now(text: str) -> None:
        with manager.global_and_fixture_disabled():
            print(f"vm: {text}", flush=True)

    return print_now


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of one network come before those of the other, in the order of the file."""
    order = {"calico": 0, "goodnet": 1}

    def network(item: pytest.Item) -> int:
        callspec = getattr(item, "callspec", None)
        return order[callspec.params["bare"]] if callspec else 0

    items.sort(key=network)
