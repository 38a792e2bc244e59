# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run finds all that is wrong, says it as a table and as JSON, and leaves no trace on the host."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scenario import BUILD, INVENTORY, SCENARIO, converge, node, run

REPORT = BUILD / "report.json"
# Reached by nobody, and its name could not be a node's.
MORE_HOSTS = "compute: {hosts: {Compute_2: {ansible_host: 10.94.9.99}}}\n"
VARIABLES = {
    "cloudbang_api_vip": "10.94.77.100",
    "cloudbang_pod_cidr": "10.96.128.0/17",
    "cloudbang_pod_cidir": "10.97.0.0/16",
    "cloudbang_low_oom_score": "maybe",
    "kube_node_max_pods": "110 pods",
    "preflight_min_memory": 10_000_000,
    "preflight_min_management_memory": 10_000_000,
    "preflight_min_disk": 10_000_000,
}
BREAK = """
mount --bind /opt /opt && mount -o remount,bind,ro /opt
mount --bind /usr/local/bin /usr/local/bin && mount -o remount,bind,noexec /usr/local/bin
systemd-run --quiet --unit=intruder python3 -m http.server --bind 10.94.9.11 10250
systemd-run --quiet --unit=docker sleep 600
systemd-run --quiet --unit=firewalld sleep 600
echo '/swapfile none swap sw 0 0 # of the test' >>/etc/fstab
echo 'http_proxy=http://192.0.2.1:3128/of-the-test' >>/etc/environment
timeout 10 sh -c 'until curl --silent --output /dev/null http://10.94.9.11:10250; do sleep 0.1; done'
"""
MEND = """
sed -i '/of the test/d' /etc/fstab; sed -i '/of-the-test/d' /etc/environment
systemctl stop intruder docker firewalld; umount /usr/local/bin; umount /opt
"""
# (host, check, variable) of everything that is wrong above. What is the same on all hosts has no host of its own.
WANTED = {
    ("Compute_2", "hostname", "inventory_hostname"),
    ("Compute_2", "unreachable", "ansible_host"),
    ("all hosts", "cidr_overlap", "cloudbang_pod_cidr"),
    ("all hosts", "type", "cloudbang_low_oom_score"),
    ("all hosts", "type", "kube_node_max_pods"),
    ("all hosts", "unknown_variable", "cloudbang_pod_cidir"),
    ("node1", "disk", "/usr/local/bin"),
    ("node1", "disk", "/var/lib"),
    ("node1", "firewall", "firewalld"),
    ("node1", "memory", "memory"),
    ("node1", "no_proxy", "no_proxy"),
    ("node1", "noexec", "/usr/local/bin"),
    ("node1", "port_used", "port 10250"),
    ("node1", "read_only", "/opt"),
    ("node1", "runtime", "container runtime"),
    ("node1", "swap", "/etc/fstab"),
    ("node1", "vip_subnet", "cloudbang_api_vip"),
}
# All that a run could leave: files with owner, mode and content, units and their states, mounts, network, kernel.
# Not the journal and the kernel's own counters, which tell that somebody logged in.
FINGERPRINT = r"""
find / /tmp /var -xdev \( -path /var/log -o -path /var/lib/systemd/timers \) -prune \
    -o -type d -printf '%p %M %u:%g\n' -o -printf '%p %M %u:%g %s %l %T@\n' | sort -u
find /root /tmp /run/systemd/system /etc -type f -exec sha256sum {} + | sort
systemctl list-unit-files --plain --no-legend --no-pager
systemctl list-units --all --plain --no-legend --no-pager --type=service,socket,timer | awk '{print $1, $2, $3, $4}'
cat /proc/mounts /etc/passwd
ip -details address show | sed 's/valid_lft.*//'
ip route show table all
nft list ruleset
sysctl --all 2>/dev/null | grep '^net\.\(ipv4\.\(conf\|ip_\)\|bridge\)\|^vm\.\(overcommit\|panic\)' | sort
"""


@dataclass
class Run:
    """What one run over everything that is wrong said."""

    code: int
    table: list[list[str]]
    text: str
    report: dict[str, Any]
    traces: list[str]


def fingerprint() -> list[str]:
    return str(node("node1").check_output("LC_ALL=C sh -c %s", FINGERPRINT)).splitlines()


def preflight(*arguments: str) -> tuple[int, str]:
    result = run(
        "ansible-playbook", f"--inventory={INVENTORY}", *arguments, str(SCENARIO / "converge.yml"),
        environment={"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    return result.returncode, result.stdout


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table, which in a log has one line for each row."""
    lines = text.splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("----"))
    starts = [place for place, sign in enumerate(lines[rule]) if sign == "-" and lines[rule][place - 1 : place] != "-"]
    ends = [*starts[1:], None]
    body = lines[rule + 1 :]
    last = next((number for number, line in enumerate(body) if not line.strip()), len(body))
    return [[line[start:end].strip() for start, end in zip(starts, ends)] for line in body[:last]]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Break host and inventory in many ways, run once, and mend the host."""
    more = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    more.write_text(MORE_HOSTS)
    host = node("node1")
    host.check_output("sh -ec %s", BREAK)
    try:
        before = fingerprint()
        assert [line for line in before if line.startswith("intruder.service loaded active")], "it sees nothing"
        code, text = preflight(f"--inventory={more}", "--extra-vars", json.dumps(VARIABLES))
        after = fingerprint()
        traces = [f"- {line}" for line in before if line not in set(after)]
        traces += [f"+ {line}" for line in after if line not in set(before)]
        return Run(code, rows(text), text, json.loads(REPORT.read_text()), traces)
    finally:
        host.check_output("sh -c %s", MEND)


def test_a_good_host_has_no_errors() -> None:
    converge()
    report = json.loads(REPORT.read_text())
    assert (report["hosts"], report["not_examined"]) == (["node1"], [])
    assert [one for one in report["problems"] if one["severity"] == "error"] == []


def test_the_run_fails_before_anything_else_is_done(broken: Run) -> None:
    assert broken.code != 0
    assert "Nothing was changed." in broken.text


@pytest.mark.parametrize("wanted", sorted(WANTED), ids="-".join)
def test_the_table_has_each_problem_once(broken: Run, wanted: tuple[str, str, str]) -> None:
    assert len([row for row in broken.table if tuple(row[:3]) == wanted]) == 1


@pytest.mark.parametrize("wanted", sorted(WANTED), ids="-".join)
def test_the_report_has_each_problem(broken: Run, wanted: tuple[str, str, str]) -> None:
    _host, check, variable = wanted
    found = [one for one in broken.report["problems"] if (one["check"], one["variable"]) == (check, variable)]
    assert found
    assert {one["severity"] for one in found} == {"error"}
    assert all(one["found"] and one["wanted"] for one in found)


def test_nothing_else_is_called_an_error(broken: Run) -> None:
    errors = {tuple(row[:3]) for row in broken.table if not row[1].endswith("(warning)")}
    assert errors == WANTED
    assert broken.report["errors"] == len([one for one in broken.report["problems"] if one["severity"] == "error"])


def test_problems_say_what_was_found(broken: Run) -> None:
    found = {tuple(row[:3]): " ".join(row[3:]) for row in broken.table}
    assert "used by python3" in found["node1", "port_used", "port 10250"]
    assert "10.94.9.0/24" in found["node1", "vip_subnet", "cloudbang_api_vip"]
    assert "did you mean cloudbang_pod_cidr?" in found["all hosts", "unknown_variable", "cloudbang_pod_cidir"]


def test_the_run_leaves_no_trace_on_the_host(broken: Run) -> None:
    assert broken.traces == []


def test_the_inventory_alone_is_judged_without_any_host(tmp_path: Path) -> None:
    values = {**VARIABLES, "preflight_scope": "inventory", "preflight_report": str(tmp_path / "report.json")}
    # Nobody could log in with this key.
    code, text = preflight("--private-key", os.devnull, "--extra-vars", json.dumps(values))
    assert code != 0
    checks = {row[1] for row in rows(text)}
    assert {"cidr_overlap", "type", "unknown_variable"} <= checks
    assert not checks & {"unreachable", "disk", "memory", "vip_subnet"}


def test_a_problem_to_live_with_is_a_warning() -> None:
    values = {"preflight_min_disk": 10_000_000}
    code, _text = preflight("--extra-vars", json.dumps(values))
    assert code != 0
    code, text = preflight("--extra-vars", json.dumps({**values, "preflight_ignore": ["disk"]}))
    assert code == 0
    assert {row[1] for row in rows(text) if row[1].startswith("disk")} == {"disk (warning)"}
