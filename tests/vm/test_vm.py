# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab of containers cannot show: cgroup v2, the kernel's Open vSwitch, nftables and a boot of the machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Platform
from .machine import VIP, run

PREFLIGHT, SITE, DEMO, RESET = (f"cloudbang.platform.{name}" for name in ("preflight", "site", "demo", "reset"))
# A machine that had another use, and the way back that preflight names.
FORMER_USE = """
systemctl enable --now docker
fallocate --length 64M /swapfile && chmod 600 /swapfile && mkswap --quiet /swapfile && swapon /swapfile
echo '/swapfile none swap sw 0 0' >> /etc/fstab
ufw allow ssh && ufw --force enable
echo 'http_proxy=http://192.0.2.1:3128' >> /etc/environment
"""
GIVEN_UP = """
export DEBIAN_FRONTEND=noninteractive
apt-get purge --yes --quiet docker.io containerd runc
swapoff --all && sed --in-place /swapfile/d /etc/fstab && rm /swapfile
ufw disable
sed --in-place /http_proxy/d /etc/environment
"""


def wait_for(what: str, check: Callable[[], Any], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"{what}: not so after {seconds} s"
        time.sleep(2)


def is_ready(platform: Platform) -> bool:
    (one,) = platform.objects("nodes")
    conditions = {entry["type"]: entry["status"] for entry in one["status"]["conditions"]}
    pods = platform.objects("pods --all-namespaces")
    ready = all(entry["ready"] for pod in pods for entry in pod["status"].get("containerStatuses", [{"ready": False}]))
    return conditions["Ready"] == "True" and ready and len(pods) > 0


def page() -> str:
    """Return a page of the demo application through the virtual IP."""
    return run("curl", "--silent", "--max-time", "10", "--noproxy", "*", "--header", "Host: httpbin.example.org",
               f"http://{VIP}/get")  # fmt: skip


def test_what_a_machine_had_before_is_named(bare: Platform, tmp_path: Path) -> None:
    """As is what to do with it, after which the platform can be installed."""

    def errors(fails: bool) -> dict[str, str]:
        report = tmp_path / "report.json"
        bare.play(PREFLIGHT, "-e", f"preflight_report={report}", fails=fails)
        problems = json.loads(report.read_text())["problems"]
        return {f"{one['check']} {one['variable']}": one["hint"] for one in problems if one["severity"] == "error"}

    bare.machine.sh(FORMER_USE)
    found = errors(fails=True)
    assert found.keys() == {
        "runtime container runtime", "swap /proc/swaps", "firewall ufw", "no_proxy no_proxy",
    }  # fmt: skip
    assert "apt-get purge docker.io" in found["runtime container runtime"]
    assert "swapoff --all" in found["swap /proc/swaps"]
    assert "ufw disable" in found["firewall ufw"]
    bare.machine.sh(GIVEN_UP)
    assert errors(fails=False) == {}


def test_the_kernel_is_the_machines_own_and_its_defaults_are_protected(platform: Platform) -> None:
    assert platform.machine.sh("uname --kernel-release") != run("uname", "--kernel-release")
    assert platform.machine.sh("stat --file-system --format=%T /sys/fs/cgroup").strip() == "cgroup2fs"
    found = platform.configured()
    assert found["cgroupDriver"] == "systemd"
    assert found["protectKernelDefaults"] is True
    assert found.get("failCgroupV1", True) is True
    assert found.get("localStorageCapacityIsolation", True) is True


def test_everything_is_ready_and_nothing_failed(platform: Platform) -> None:
    wait_for("the node and all pods are ready", lambda: is_ready(platform))
    assert platform.machine.sh("systemctl list-units --failed --no-legend --plain") == ""


def test_an_application_answers_at_the_virtual_ip(platform: Platform) -> None:
    assert platform.play(DEMO)["failed"] == 0
    assert json.loads(page())["headers"]["Host"] == "httpbin.example.org"


def test_the_limits_of_a_container_are_in_force(platform: Platform) -> None:
    """The demo has the limits of its tenant. cgroup v2 shows them at the pod's place."""
    (pod, *_others) = platform.objects("pods --namespace=demo")
    limits = pod["spec"]["containers"][0]["resources"]["limits"]
    uid = pod["metadata"]["uid"].replace("-", "_")
    place = platform.machine.sh(f"find /sys/fs/cgroup/kubepods.slice -type d -name '*pod{uid}.slice'").strip()
    assert limits["memory"].endswith("Mi"), limits
    wanted = int(limits["memory"].removesuffix("Mi")) << 20
    assert int(platform.machine.sh(f"cat {place}/memory.max")) == wanted
    assert platform.machine.sh(f"cat {place}/pids.max").strip() != "max"


def test_the_firewall_is_in_force_in_this_kernel(platform: Platform) -> None:
    """A pod reaches the API and DNS of the host, and neither its SSH nor the metadata of clouds."""
    assert "chain from_pods" in platform.machine.sh("nft list table inet cloudbang")
    (pod, *_others) = platform.objects("pods --namespace=demo")
    identifier = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    pid = platform.machine.sh(f"ctr --namespace=k8s.io tasks ls | awk '$1 == \"{identifier}\" {{print $2}}'").strip()

    def reaches(address: str, port: int) -> bool:
        probe = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo yes || echo no"
        return platform.machine.sh(f'nsenter --target {pid} --net sh -c "{probe}"').strip() == "yes"

    assert reaches("10.96.0.1", 443)
    assert not reaches("10.97.0.11", 22)
    assert not reaches("169.254.169.254", 80)


def test_goodnet_forwards_in_the_kernel(platform: Platform) -> None:
    if platform.network != "goodnet":
        pytest.skip("Calico has no Open vSwitch")
    assert "openvswitch" in platform.machine.sh("lsmod")
    assert "system@ovs-system" in platform.machine.sh("ovs-appctl dpif/show")
    status = json.loads(platform.machine.sh("goodnetctl status --json"))
    assert (status["ready"], status["problems"]) == (True, [])


def test_a_second_run_changes_nothing(platform: Platform) -> None:
    assert platform.play(SITE)["changed"] == 0


def test_everything_is_back_after_a_boot(platform: Platform) -> None:
    platform.machine.reboot()
    wait_for("the API answers", lambda: _quiet(lambda: platform.kubectl("get", "--raw", "/readyz")))
    wait_for("the node and all pods are ready", lambda: _quiet(lambda: is_ready(platform)))
    wait_for("the demo answers", lambda: _quiet(lambda: "httpbin" in page()))
    assert platform.machine.sh("systemctl list-units --failed --no-legend --plain") == ""
    assert platform.play(SITE)["changed"] == 0


def test_a_reset_leaves_nothing(platform: Platform) -> None:
    assert platform.play(RESET, "-e", "reset_cluster=vm")["failed"] == 0
    assert platform.machine.sh("nft list tables | grep -E 'cloudbang|kube|goodnet' || true") == ""
    assert platform.machine.sh("ls -A /sys/class/net").split() == ["eth0", "lo"]
    assert platform.machine.sh("systemctl list-units --failed --no-legend --plain") == ""


def _quiet(check: Callable[[], Any]) -> Any:
    try:
        return check()
    except RuntimeError:
        return False
