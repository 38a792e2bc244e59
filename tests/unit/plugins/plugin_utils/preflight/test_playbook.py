# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook on an inventory in which many things are wrong: one run finds them all."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.plays import tasks_with_roles

from .test_bad_input import ROWS

ROOT = Path(__file__).resolve().parents[5]
PLAYBOOK = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
BAD = """\
all:
  vars:
    ansible_user: nobody
    ansible_ssh_common_args: -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/dev/null
    cloudbang_api_vip: 127.0.0.1
    cloudbang_pod_cdir: 10.0.0.0/8
    cloudbang_service_cidr: 10.244.0.5/16
    calico_vxlan_vni: 0
    gateway_access_log: "false"
    etcd_quota_bytes: 8G
    cloudbang_cluster_name:
    registry_data_dir: "{{ nowhere }}"
    cloudbang_apps: [{name: web, image: "{{ known_when_it_is_deployed }}"}]
    cloudbang_tenant:
    cloudbang_cluster_domain: !vault |
      $ANSIBLE_VAULT;1.1;AES256
      33363965326261303234626130333434313066
    preflight_min_disk: 1
    preflight_min_disk: 2
  children:
    management:
      hosts:
        Node_1: {ansible_host: 127.0.0.1, ansible_port: 1}
        node2: {ansible_host: 127.0.0.1, ansible_port: 1}
    storage:
      hosts:
        node3: {ansible_host: "{{ missing }}"}
    workers:
      hosts:
        node4: {ansible_host: 127.0.0.1, ansible_port: 1}
"""
# Two names of this machine, and a host that does not answer.
THREE = """\
all:
  vars:
    ansible_python_interpreter: "{python}"
    cloudbang_pki_dir: {directory}/pki
    preflight_ignore: {ignored}
  children:
    management:
      vars: {{cloudbang_port_etcd_metrics: {port}}}
      hosts:
        one: {{ansible_connection: local}}
    compute:
      hosts:
        two: {{ansible_connection: local}}
    loadbalancer:
      hosts:
        two:
    storage:
      hosts:
        three:
          ansible_host: 127.0.0.1
          ansible_port: 1
          ansible_ssh_common_args: -o BatchMode=yes
"""
CHANGES = """\
- name: Check
  ansible.builtin.import_playbook: cloudbang.platform.preflight
- name: Change
  hosts: all
  gather_facts: false
  tasks:
    - name: Change something
      ansible.builtin.file: {{path: "{directory}/changed-{{{{ inventory_hostname }}}}", state: touch, mode: "0644"}}
"""
SITE = "cloudbang.platform.site"
RESET = "cloudbang.platform.reset"
# Another machine stands first, and the cluster's variables are of a group below all.
BASTION = """\
all:
  children:
    bastion:
      hosts: {bastion1: {ansible_host: 198.51.100.7}}
    platform:
      vars:
        cloudbang_cluster_name: mysite
        cloudbang_api_vip: 192.0.2.100
        cloudbang_state_dir: "{{ inventory_dir }}/{{ cloudbang_cluster_name }}"
        ansible_connection: local
        ansible_python_interpreter: "{{ ansible_playbook_python }}"
        preflight_ignore: [vni]
        calico_vxlan_vni: 0
      children:
        management: {hosts: {m1: {ansible_host: 192.0.2.11}}}
        compute: {hosts: {c1: {ansible_host: 192.0.2.21}}}
        loadbalancer: {hosts: {l1: {ansible_host: 192.0.2.31}}}
        storage: {hosts: {s1: {ansible_host: 192.0.2.41}}}
"""
# Neither is to run against this machine.
HARMFUL = ("cloudbang.platform.artifacts", "cloudbang.platform.node_reset")


def part(directory: Path, playbook: str, name: str) -> Path:
    """Return a playbook with one play of the collection's, as it is but for what is harmful here."""
    plays = yaml.safe_load((ROOT / "playbooks" / f"{playbook}.yml").read_text(encoding="utf-8"))
    [play] = [play for play in plays if play["name"] == name]
    play["tasks"] = [
        one
        for one in play["tasks"]
        if not {*one, *(options["name"] for options in tasks_with_roles([one]))} & set(HARMFUL)
    ]
    path = directory / f"{playbook}-part.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    return path


EXPECTED = {
    ("inventory", "groups", "compute"),
    ("inventory", "groups", "loadbalancer"),
    ("inventory", "etcd_count", "management"),
    ("Node_1", "hostname", "inventory_hostname"),
    ("Node_1", "vip_is_node", "cloudbang_node_address"),
    ("Node_1", "node_address", "cloudbang_node_address"),
    ("node2", "duplicate_address", "cloudbang_node_address"),
    ("node2", "unknown_variable", "cloudbang_pod_cdir"),
    ("all hosts", "cidr", "cloudbang_service_cidr"),
    ("all hosts", "cidr_overlap", "cloudbang_pod_cidr"),
    ("all hosts", "vni", "calico_vxlan_vni"),
    ("node3", "type", "gateway_access_log"),
    ("Node_1", "type", "etcd_quota_bytes"),
    ("Node_1", "null", "cloudbang_cluster_name"),
    ("node3", "undefined", "registry_data_dir"),
    ("node3", "undefined", "ansible_host"),
    ("node2", "vault", "cloudbang_cluster_domain"),
    ("Node_1", "unreachable", "ansible_host"),
    ("node2", "unreachable", "ansible_host"),
    ("node4", "no_group", "groups"),
}


def run(
    directory: Path, inventory: str, *arguments: str, playbook: str | Path = "playbooks/preflight.yml"
) -> tuple[int, str, dict[str, Any]]:
    hosts, report = directory / "hosts.yml", directory / "report.json"
    hosts.write_text(inventory, encoding="utf-8")
    done = subprocess.run(
        [str(PLAYBOOK), "-i", str(hosts), "-e", f"preflight_report={report}", *arguments, str(playbook)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_DUPLICATE_YAML_DICT_KEY": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    return done.returncode, done.stdout + done.stderr, found


@pytest.mark.parametrize("arguments", [(), ("--check",), ("--limit", "node2")], ids=["all", "check", "limit"])
def test_one_run_finds_everything(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, output, report = run(tmp_path, BAD, *arguments)
    found = {(one["host"], one["check"], one["variable"]) for one in report["problems"]}
    expected = {one for one in EXPECTED if one[:2] != ("Node_1", "unreachable") or "--limit" not in arguments}
    assert expected <= found, (expected - found, output)
    assert any(one["check"] == "file_duplicate_key" for one in report["problems"])
    assert code != 0
    assert "changed=0" in output
    assert "cloudbang_pod_cdir" in output
    assert "did you mean cloudbang_pod_cidr?" in output


def test_the_inventory_alone_needs_no_host(tmp_path: Path) -> None:
    _code, _output, report = run(tmp_path, BAD, "-e", "preflight_scope=inventory")
    assert {one["check"] for one in report["problems"]} >= {"groups", "vni"}
    assert not any(one["check"] == "unreachable" for one in report["problems"])


def test_a_check_can_be_made_a_warning(tmp_path: Path) -> None:
    _code, _output, report = run(tmp_path, BAD, "-e", '{"preflight_ignore": ["vni"], "preflight_scope": "inventory"}')
    assert [one["severity"] for one in report["problems"] if one["check"] == "vni"] == ["warning"]


def test_one_host_that_does_not_answer_stops_all_before_any_change(tmp_path: Path) -> None:
    ignored = sorted({row.check for row in ROWS} - {"unreachable"} | {"filtered"})
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        inventory = THREE.format(python=sys.executable, directory=tmp_path, ignored=ignored, port=port)
        playbook = tmp_path / "changes.yml"
        playbook.write_text(CHANGES.format(directory=tmp_path), encoding="utf-8")
        code, output, report = run(tmp_path, inventory, playbook=playbook)
    assert code != 0
    assert "1 problem: in the table above" in output
    assert list(tmp_path.glob("changed-*")) == []
    (lost,) = [one for one in report["problems"] if one["severity"] == "error"]
    assert (lost["host"], lost["check"]) == ("three", "unreachable")
    assert "127.0.0.1" in lost["found"] and "refused" in lost["found"]
    # What the other hosts have is in the same report.
    found = {(one["host"], one["check"], one["variable"]): one["found"] for one in report["problems"]}
    assert ("two", "duplicate_machine_id", "/etc/machine-id") in found
    assert ("two", "duplicate_hostname", "hostname") in found
    used = found["one", "port_used", "cloudbang_port_etcd_metrics"]
    assert f"tcp 127.0.0.1:{port} used by {Path('/proc/self/comm').read_text(encoding='utf-8').strip()}" in used


@pytest.mark.parametrize("answer", ["", "another", "cloudbang "])
def test_reset_wants_the_name_of_the_cluster(tmp_path: Path, answer: str) -> None:
    variables = json.dumps({"reset_cluster": answer})
    code, output, _report = run(tmp_path, BAD.replace("cloudbang_cluster_name:", "x:"), "-e", variables, playbook=RESET)
    assert code != 0
    assert f"reset_cluster: found '{answer}', wanted 'cloudbang'. Nothing was changed." in " ".join(output.split())
    assert "UNREACHABLE" not in output


def test_tags_run_nothing_without_the_checks(tmp_path: Path) -> None:
    _code, output, _report = run(tmp_path, BAD, "--list-tasks", "--tags", "etcd", playbook=SITE)
    tasks = [line for line in output.splitlines() if "TAGS:" in line and "play #" not in line]
    assert tasks == []
    _code, output, _report = run(tmp_path, BAD, "--list-tasks", "--skip-tags", "always", playbook=SITE)
    tasks = [line for line in output.splitlines() if "TAGS:" in line and "play #" not in line]
    assert "Check the inventory" in tasks[0]


@pytest.mark.parametrize("playbook", [SITE, RESET, "cloudbang.platform.preflight"])
@pytest.mark.parametrize(
    "arguments", [("--tags", "etcd"), ("--start-at-task", "Install and run containerd")], ids=["tags", "start"]
)
def test_a_part_of_a_run_is_refused_in_one_sentence(tmp_path: Path, playbook: str, arguments: tuple[str, ...]) -> None:
    code, output, _report = run(tmp_path, BASTION, *arguments, "--check", playbook=playbook)
    text = " ".join(output.split())
    assert code != 0 and arguments[0] in text
    assert "wanted all plays of this playbook" in text and "use --limit" in text and "TASK [" not in output


def test_an_inventory_of_another_installer_is_told_its_groups(tmp_path: Path) -> None:
    inventory = "k3s:\n  children:\n    server: {hosts: {192.0.2.11: }}\n    agent: {hosts: {192.0.2.21: }}\n"
    code, output, report = run(tmp_path, inventory, "-e", "preflight_scope=inventory", playbook=SITE)
    assert code != 0 and "4 problems: in the table above" in output
    found = {one["variable"]: one for one in report["problems"] if one["check"] == "groups"}
    assert set(found) == {"management", "compute", "loadbalancer", "storage"}
    assert found["management"]["found"] == "no such group"
    assert found["management"]["hint"] == "is group 'server' meant to be it?"


def test_an_inventory_without_hosts_is_told_its_groups(tmp_path: Path) -> None:
    code, _output, report = run(tmp_path, "all: {}\n", "-e", "preflight_scope=inventory")
    assert code != 0 and {one["check"] for one in report["problems"]} == {"groups"}


def test_a_host_outside_the_platform_lends_no_variables(tmp_path: Path) -> None:
    code, output, report = run(tmp_path, BASTION, "-e", "preflight_scope=inventory")
    assert code == 0, output
    assert {one["check"]: one["severity"] for one in report["problems"]} == {"vni": "warning", "no_group": "warning"}
    prepare = part(tmp_path, "site", "Prepare the controller")
    code, output, _report = run(tmp_path, BASTION, playbook=prepare)
    assert code == 0, output
    assert (tmp_path / "mysite/pki/kubernetes-ca.crt").exists() and not (tmp_path / "cloudbang").exists()
    assert json.loads((tmp_path / "mysite/pki/cluster.json").read_text(encoding="utf-8")) == {
        "addresses": ["192.0.2.100", "192.0.2.11"]
    }
    code, output, _report = run(tmp_path, BASTION, playbook=prepare)
    assert code == 0 and "changed=1" not in output, output


@pytest.mark.parametrize("other", [False, True], ids=["this cluster", "another"])
def test_reset_keeps_the_state_of_another_cluster_with_the_same_name(tmp_path: Path, other: bool) -> None:
    run(tmp_path, BASTION, playbook=part(tmp_path, "site", "Prepare the controller"))
    (tmp_path / "mysite/admin.conf").write_text("", encoding="utf-8")
    second = BASTION.replace("192.0.2.", "203.0.113.") if other else BASTION
    code, output, report = run(tmp_path, second, "-e", "preflight_scope=inventory")
    errors = [one["check"] for one in report["problems"] if one["severity"] == "error"]
    assert errors == ["other_cluster"] * other, output
    code, output, _report = run(tmp_path, second, playbook=part(tmp_path, "reset", "Remove the platform"))
    assert code == 0, output
    assert (tmp_path / "mysite/pki/kubernetes-ca.key").exists() is other
    assert (tmp_path / "mysite/admin.conf").exists() is other
    assert ("is kept: it is of a cluster with 192.0.2.100, 192.0.2.11" in " ".join(output.split())) is other
