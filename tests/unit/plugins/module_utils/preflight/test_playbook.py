# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The playbook on an inventory in which many things are wrong: one run finds them all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


def run(directory: Path, inventory: str, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    hosts, report = directory / "hosts.yml", directory / "report.json"
    hosts.write_text(inventory, encoding="utf-8")
    done = subprocess.run(
        [str(PLAYBOOK), "-i", str(hosts), "-e", f"preflight_report={report}", *arguments, "playbooks/preflight.yml"],
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
