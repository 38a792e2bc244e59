# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of one host's pods: none twice, whatever is killed when."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from goodnet.cni.ipam import Ipam, Lease
from goodnet.errors import IO_FAILURE, NO_ADDRESS, CniError

RANGE = IPv4Network("10.244.3.0/29")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ipam.json"


def allocate(ipam: Ipam, *containers: str) -> list[str]:
    return [str(ipam.allocate(container, f"/run/netns/{container}")) for container in containers]


def test_addresses_go_in_turn_and_come_back_last(journal: Path) -> None:
    ipam = Ipam(journal, RANGE)
    assert allocate(ipam, "a", "b") == ["10.244.3.2", "10.244.3.3"]
    ipam.release(["a", "b"])
    assert allocate(ipam, "c", "d", "e") == ["10.244.3.4", "10.244.3.5", "10.244.3.6"]
    assert allocate(ipam, "f") == ["10.244.3.2"]


def test_the_same_container_gets_the_same_address(journal: Path) -> None:
    ipam = Ipam(journal, RANGE)
    assert allocate(ipam, "a", "a") == ["10.244.3.2", "10.244.3.2"]
    assert str(ipam.allocate("a", "/run/netns/another")) == "10.244.3.2"
    assert Ipam(journal, RANGE).leases()["a"].netns == "/run/netns/another"


def test_a_full_range_says_so_until_one_is_given_back(journal: Path) -> None:
    ipam = Ipam(journal, RANGE)
    given = allocate(ipam, "a", "b", "c", "d", "e")
    assert given == [f"10.244.3.{number}" for number in range(2, 7)]
    with pytest.raises(CniError) as problem:
        allocate(ipam, "f")
    assert problem.value.code == NO_ADDRESS
    assert "All 5 addresses" in problem.value.message and "10.244.3.0/29" in problem.value.message
    assert "f" not in ipam.leases()
    ipam.release(["c", "unknown"])
    assert allocate(ipam, "f") == ["10.244.3.4"]


def test_a_restart_keeps_leases_and_the_turn(journal: Path) -> None:
    ipam = Ipam(journal, RANGE)
    allocate(ipam, "a", "b")
    ipam.release(["b"])
    again = Ipam(journal, RANGE)
    assert again.leases() == {"a": Lease("a", IPv4Address("10.244.3.2"), "/run/netns/a")}
    assert allocate(again, "c") == ["10.244.3.4"]


def test_another_range_starts_at_its_own_first_address(journal: Path) -> None:
    allocate(Ipam(journal, RANGE), "a")
    again = Ipam(journal, IPv4Network("10.244.9.0/24"))
    assert allocate(again, "b") == ["10.244.9.2"]
    assert set(again.leases()) == {"a", "b"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"latest": "x", "leases": {}}', '{"latest": "10.244.3.2"}'])
def test_a_broken_journal_is_set_aside_and_ports_tell_what_is_held(journal: Path, text: str) -> None:
    journal.parent.mkdir()
    journal.write_text(text)
    ipam = Ipam(journal, RANGE)
    ipam.adopt([Lease("a", IPv4Address("10.244.3.2"), "/run/netns/a")])
    assert allocate(ipam, "b", "a") == ["10.244.3.3", "10.244.3.2"]
    assert (journal.parent / "ipam.json.broken").read_text() == text
    assert set(Ipam(journal, RANGE).leases()) == {"a", "b"}


def test_what_has_a_port_is_right_against_the_journal(journal: Path) -> None:
    allocate(Ipam(journal, RANGE), "a", "b")
    ipam = Ipam(journal, RANGE)
    ipam.adopt([Lease("c", IPv4Address("10.244.3.2"), "/run/netns/c")])
    assert {name: str(lease.address) for name, lease in ipam.leases().items()} == {
        "b": "10.244.3.3",
        "c": "10.244.3.2",
    }


def test_a_journal_that_can_not_be_written_gives_no_address(journal: Path) -> None:
    journal.parent.write_text("a file where the directory should be")
    with pytest.raises(OSError):
        Ipam(journal, RANGE)
    journal.parent.unlink()
    ipam = Ipam(journal, RANGE)
    journal.parent.write_text("a file where the directory should be")
    with pytest.raises(CniError) as problem:
        allocate(ipam, "a")
    assert problem.value.code == IO_FAILURE and str(journal) in problem.value.message
    assert not ipam.leases()
    journal.parent.unlink()
    assert allocate(ipam, "a") == ["10.244.3.3"]


def test_a_range_too_small_is_refused(journal: Path) -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/30"):
        Ipam(journal, IPv4Network("10.0.0.0/30"))


def test_threads_get_different_addresses_and_all_are_on_disk(journal: Path) -> None:
    ipam = Ipam(journal, IPv4Network("10.244.3.0/24"))
    with ThreadPoolExecutor(30) as pool:
        given = list(pool.map(lambda number: allocate(ipam, f"c{number}")[0], range(60)))
    assert len(set(given)) == 60
    held = json.loads(journal.read_text())["leases"]
    assert {container: address for container, (address, _ignored) in held.items()} == {
        f"c{number}": address for number, address in enumerate(given)
    }


GREEDY = """
import sys
from ipaddress import IPv4Network
from pathlib import Path
from goodnet.cni.ipam import Ipam
ipam = Ipam(Path(sys.argv[1]), IPv4Network("10.244.0.0/22"))
for number in range(900):
    print(f"{sys.argv[2]}-{number}", ipam.allocate(f"{sys.argv[2]}-{number}", "/x"), flush=True)
"""


def test_a_kill_at_any_time_loses_no_address_that_was_given_out(journal: Path) -> None:
    given: dict[str, str] = {}
    for life, lines in enumerate([1, 7, 30]):
        command = [sys.executable, "-c", GREEDY, str(journal), f"life{life}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(sys.path)})
        assert process.stdout is not None
        for _ignored in range(lines):
            container, address = process.stdout.readline().split()
            assert address not in given.values()
            given[container] = address
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            container, address = line.split()
            given[container] = address
        process.wait()
    leases = Ipam(journal, IPv4Network("10.244.0.0/22")).leases()
    held = {container: str(lease.address) for container, lease in leases.items()}
    assert given.items() <= held.items()
    assert len(set(held.values())) == len(held)
