# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd stores over mutual TLS, keeps its data while a member is down, and takes a lost member back."""

from __future__ import annotations

import json

import pytest
from scenario import changes, confined, converge, node

MEMBERS = {"etcd1": "10.94.1.11", "etcd2": "10.94.1.12", "etcd3": "10.94.1.13"}
CLIENT = "--cert /etc/etcd/pki/client.crt --key /etc/etcd/pki/client.key"
ETCDCTL = "etcdctl --cacert=/etc/etcd/pki/ca.crt --command-timeout=5s"


def etcdctl(member: str, command: str, client: str = CLIENT) -> str:
    """Run etcdctl on etcd1 against one member. Return its output without the last line end."""
    return str(node("etcd1").check_output(f"{ETCDCTL} {client} --endpoints=https://{MEMBERS[member]}:2379 {command}"))


def member_ids() -> dict[str, int]:
    listed = json.loads(etcdctl("etcd1", "member list --write-out=json"))["members"]
    assert all("isLearner" not in one for one in listed)
    return {one["name"]: one["ID"] for one in listed}


def test_what_one_member_takes_another_returns() -> None:
    etcdctl("etcd1", "put /molecule/greeting hello")
    assert etcdctl("etcd3", "get --print-value-only /molecule/greeting") == "hello"


def test_all_hosts_are_voting_members() -> None:
    assert set(member_ids()) == set(MEMBERS)


@pytest.mark.parametrize("member", sorted(MEMBERS))
def test_a_client_without_certificate_is_refused(member: str) -> None:
    host = node(member)
    refused = host.run(f"{ETCDCTL} --endpoints=https://{MEMBERS[member]}:2379 put /molecule/intruder x")
    assert refused.rc != 0
    assert host.run(f"curl --silent --max-time 5 http://{MEMBERS[member]}:2379/version").rc != 0
    assert host.run(f"curl --silent --max-time 5 http://{MEMBERS[member]}:2381/metrics").rc != 0


def test_a_certificate_of_the_members_own_making_is_refused() -> None:
    host = node("etcd1")
    host.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=etcd-operator "
        "-keyout /tmp/other.key -out /tmp/other.crt"
    )
    client = "--cert=/tmp/other.crt --key=/tmp/other.key"
    refused = host.run(f"{ETCDCTL} {client} --endpoints=https://{MEMBERS['etcd1']}:2379 put /molecule/intruder x")
    assert refused.rc != 0
    assert etcdctl("etcd1", "get --keys-only /molecule/intruder") == ""


def test_keys_are_for_their_owners_only() -> None:
    host = node("etcd2")
    assert host.check_output("find /etc/etcd/pki -name '*.key' -perm /077") == ""
    assert host.check_output("find /var/lib/etcd -maxdepth 0 -perm /077") == ""


def test_who_breaks_into_a_member_has_its_own_keys_only() -> None:
    confined("etcd1", "etcd", "/etc/etcd/pki/server.key", "/etc/etcd/pki/peer.key", *data_of("etcd1"))


def data_of(member: str) -> list[str]:
    return str(node(member).check_output("find /var/lib/etcd -type f")).split()


def test_metrics_are_for_those_that_have_a_certificate() -> None:
    ask = "curl --silent --insecure --max-time 5"
    for scheme in ("http", "https"):
        assert "etcd_" not in node("etcd2").run(f"{ask} {scheme}://127.0.0.1:2381/metrics").stdout
    assert "etcd_server_has_leader 1" in node("etcd2").check_output(f"{ask} {CLIENT} https://127.0.0.1:2381/metrics")


@pytest.mark.disruptive
def test_two_members_keep_answering() -> None:
    node("etcd3").check_output("systemctl stop etcd")
    etcdctl("etcd1", "put /molecule/alone yes")
    assert etcdctl("etcd2", "get --print-value-only /molecule/alone") == "yes"
    assert any(line.startswith("etcd3:") for line in changes(converge()))
    assert etcdctl("etcd3", "get --print-value-only /molecule/alone") == "yes"


@pytest.mark.disruptive
def test_a_member_that_lost_its_data_joins_again() -> None:
    etcdctl("etcd1", "put /molecule/kept yes")
    before = member_ids()
    host = node("etcd2")
    host.check_output("systemctl stop etcd && find /var/lib/etcd -mindepth 1 -delete")
    # By itself it must neither found another cluster nor come back under an identity whose promises it forgot.
    assert host.run("systemctl start etcd").rc != 0
    assert "found no data in /var/lib/etcd" in host.check_output("journalctl --unit=etcd --output=cat --lines=50")
    assert set(member_ids()) == set(MEMBERS)
    converge()
    after = member_ids()
    assert set(after) == set(MEMBERS)
    assert after["etcd2"] != before["etcd2"]
    assert {name: after[name] for name in ("etcd1", "etcd3")} == {name: before[name] for name in ("etcd1", "etcd3")}
    assert etcdctl("etcd2", "get --print-value-only --consistency=s /molecule/kept") == "yes"
    assert changes(converge()) == []
