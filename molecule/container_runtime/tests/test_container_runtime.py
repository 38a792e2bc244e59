# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd runs containers, answers the kubelet's protocol, and comes back when it dies."""

from __future__ import annotations

import pytest
from scenario import changes, converge, module, node, wait_for

SOCKET = "/run/containerd/containerd.sock"


def cri(method: str) -> str:
    """Send an empty request of the container runtime interface over gRPC. Return the answer's printable text."""
    url = f"http://localhost/runtime.v1.RuntimeService/{method}"
    options = "--silent --show-error --fail --max-time 5 --http2-prior-knowledge --data-binary @-"
    headers = "--header 'content-type: application/grpc' --header 'te: trailers'"
    send = r"printf '\000\000\000\000\000'"
    call = f"curl {options} {headers} --unix-socket {SOCKET} {url}"
    return str(node("compute1").check_output(f"{send} | {call} | tr -cd '[:print:]'"))


def test_client_and_server_are_of_one_version() -> None:
    text = node("compute1").check_output("ctr version")
    versions = [line.split()[-1] for line in text.splitlines() if line.strip().startswith("Version:")]
    assert len(versions) == 2
    assert len(set(versions)) == 1


def test_the_kubelets_socket_answers() -> None:
    assert "containerd" in cri("Version")


def test_runtime_and_network_plugins_are_known() -> None:
    assert "RuntimeReady" in cri("Status")
    plugins = [line for line in node("compute1").check_output("ctr plugins ls").splitlines() if ".cri." in line]
    assert plugins and not [line for line in plugins if "error" in line]


def test_only_root_may_use_the_socket() -> None:
    refused = node("compute1").run(f"setpriv --reuid=nobody --regid=nogroup --clear-groups ctr -a {SOCKET} version")
    assert refused.rc != 0


@pytest.mark.parametrize("name", ["loopback", "host-local", "portmap", "bridge", "bandwidth"])
def test_network_plugins_run(name: str) -> None:
    request = '{"cniVersion": "1.0.0"}'
    answer = node("compute1").check_output(f"echo '{request}' | CNI_COMMAND=VERSION /opt/cni/bin/{name}")
    assert "supportedVersions" in answer


def test_a_container_runs_and_ends() -> None:
    image = module("localhost", "cloudbang.platform.artifacts", names=["image-pause"])["artifacts"]["image-pause"]
    sent = module("compute1", "ansible.builtin.copy", src=image["path"], dest="/var/tmp/pause.tar", mode="0600")
    assert not sent.get("failed"), sent
    host = node("compute1")
    host.check_output("ctr images import --index-name molecule/pause:1 /var/tmp/pause.tar")
    host.check_output("ctr run --detach molecule/pause:1 molecule")
    try:
        wait_for(lambda: "RUNNING" in host.check_output("ctr tasks ls"))
        pid = host.check_output("ctr tasks ls | awk '$1 == \"molecule\" {print $2}'")
        assert host.check_output(f"readlink /proc/{pid}/ns/pid") != host.check_output("readlink /proc/1/ns/pid")
    finally:
        host.run("ctr tasks kill --signal SIGKILL molecule")
        wait_for(lambda: "RUNNING" not in host.check_output("ctr tasks ls"))
        host.run("ctr containers rm molecule")


@pytest.mark.disruptive
def test_it_comes_back_by_itself() -> None:
    host = node("compute1")
    before = host.check_output("systemctl show --property MainPID --value containerd")
    host.check_output("systemctl kill --signal SIGKILL containerd")
    wait_for(lambda: host.run("ctr version").rc == 0)
    assert host.check_output("systemctl show --property MainPID --value containerd") != before


@pytest.mark.disruptive
def test_a_changed_configuration_is_put_right_and_in_force() -> None:
    host = node("compute1")
    host.check_output("sed -i 's/^oom_score.*/oom_score = 7/' /etc/containerd/config.toml")
    host.check_output("systemctl restart containerd")
    before = host.check_output("systemctl show --property MainPID --value containerd")
    assert changes(converge()) != []
    assert host.check_output("systemctl show --property MainPID --value containerd") != before
    assert changes(converge()) == []
