# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One of two hosts holds the virtual IP, leads it to a healthy API server, and the other takes over."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scenario import SCENARIO, STATE, changes, converge, node, run, wait_for

VIP = "10.94.7.100"
HOSTS = ["loadbalancer1", "loadbalancer2"]
ADDRESSES = {"loadbalancer1": "10.94.7.31", "loadbalancer2": "10.94.7.32", "management1": "10.94.7.11"}
VRRP = base64.b64encode((SCENARIO.parent / "shared" / "vrrp.py").read_bytes()).decode()
TABLE = "cloudbang-vrrp"


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run("curl", "--silent", "--max-time", "2", "--noproxy", "*", *arguments)


def answers() -> bool:
    """Ask the API through the virtual IP, as a client that trusts the cluster's authority does."""
    result = curl("--fail", "--cacert", str(STATE / "pki" / "kubernetes-ca.crt"), f"https://{VIP}:6443/readyz")
    return result.returncode == 0 and result.stdout == "ok"


def holders() -> list[str]:
    return [name for name in HOSTS if f" {VIP}/" in node(name).check_output("ip -4 -o address show")]


def holder() -> str:
    """Return the name of the one host with the virtual IP, as soon as there is one only."""
    found: list[str] = wait_for(lambda: names if len(names := holders()) == 1 else [])
    return found[0]


def takes_over(old: str) -> None:
    """Wait until the API answers at the virtual IP and the other host has it."""
    started = time.monotonic()
    wait_for(lambda: answers() and holder() != old, 15)
    # Looking at both hosts takes time too: this is no measurement.
    assert time.monotonic() - started < 15


def test_the_api_answers_at_the_virtual_ip() -> None:
    wait_for(answers)
    assert holder() in HOSTS


def test_programs_are_told_who_holds_the_virtual_ip() -> None:
    program = "/etc/cloudbang/vip-notify/test"
    try:
        for name in HOSTS:
            host = node(name)
            host.check_output("mkdir -p /etc/cloudbang/vip-notify")
            host.check_output("printf '#!/bin/sh\\necho $1 > /run/told\\n' > %s && chmod 0755 %s", program, program)
            # What keepalived said last.
            host.check_output("/usr/local/libexec/cloudbang-vip-notify")
        wanted = {name: "master" if name == holder() else "backup" for name in HOSTS}
        assert {name: node(name).check_output("cat /run/told") for name in HOSTS} == wanted
    finally:
        for name in HOSTS:
            node(name).check_output("rm -rf /etc/cloudbang/vip-notify /run/told")


@pytest.mark.parametrize("name", HOSTS)
def test_haproxy_is_healthy_on_each_host(name: str) -> None:
    host = node(name)
    assert host.run("curl --silent --fail http://127.0.0.1:8404/healthz").rc == 0
    assert host.run("/usr/local/libexec/cloudbang-vip-check").rc == 0


@pytest.mark.parametrize("name", HOSTS)
def test_adverts_come_before_other_work(name: str) -> None:
    assert "-20" in node(name).check_output("ps -C keepalived -o ni=").split()


@pytest.mark.parametrize("name", HOSTS)
def test_health_is_not_for_others(name: str) -> None:
    assert curl(f"http://{ADDRESSES[name]}:8404/healthz").returncode != 0


def test_a_server_of_another_authority_gets_no_request() -> None:
    """The stand-in speaks TLS with the cluster's certificate; with another one it counts as down."""
    wait_for(answers)
    host = node("management1")
    host.check_output(
        "cp -p /etc/stand-in.crt /etc/kept.crt && cp -p /etc/stand-in.key /etc/kept.key && "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=kubernetes "
        "-addext subjectAltName=DNS:kubernetes -keyout /etc/stand-in.key -out /etc/stand-in.crt && "
        "systemctl restart stand-in"
    )
    try:
        wait_for(lambda: curl("--insecure", f"https://{VIP}:6443/readyz").returncode != 0)
    finally:
        host.check_output("mv /etc/kept.crt /etc/stand-in.crt && mv /etc/kept.key /etc/stand-in.key")
        host.check_output("systemctl restart stand-in")
    wait_for(answers)


def advertise(sender: str, target: str, priority: int = 254, count: int = 4) -> None:
    """Send adverts that claim the virtual IP from one host to another."""
    words = f"{target} {ADDRESSES[sender]} {VIP} {priority} {count}"
    node(sender).check_output(f"echo {VRRP} | base64 -d | python3 - {words}")


def said(name: str, what: str) -> int:
    """Return how often keepalived has said something."""
    return str(node(name).check_output("journalctl --unit=keepalived --no-pager")).count(what)


STRANGER = ADDRESSES["management1"]
# It took an advert for one of its own group, or refused one for its sender.
HEARD, REFUSED = f"dvert from {STRANGER}", f"address {STRANGER} not a unicast peer"


def dropped(name: str, chain: str = "input") -> int:
    """Return how many packets the last rule of a chain has dropped."""
    words = node(name).check_output(f"nft list chain inet {TABLE} {chain}").split()
    return int(words[len(words) - words[::-1].index("packets")])


@contextmanager
def without_the_table(name: str) -> Iterator[None]:
    node(name).check_output(f"nft delete table inet {TABLE}")
    try:
        yield
    finally:
        node(name).check_output("systemctl restart cloudbang-vrrp")


@contextmanager
def without_the_check(name: str) -> Iterator[None]:
    """Let keepalived take adverts of anybody. The file stays the same one, or the next run would reload it."""
    path, host = "/etc/keepalived/keepalived.conf", node(name)
    host.check_output(f"cp -p {path} /run/kept")
    try:
        host.check_output(f"sed /check_unicast_src/d /run/kept > {path} && systemctl reload keepalived")
        yield
    finally:
        host.check_output(f"cat /run/kept > {path} && touch -r /run/kept {path} && systemctl reload keepalived")


@pytest.mark.parametrize("priority", [100, 254])
@pytest.mark.parametrize("target", HOSTS)
def test_adverts_of_others_count_for_nothing(target: str, priority: int) -> None:
    """They do not come as far as keepalived. Without the fix two of them, to the host with the virtual IP, take it."""
    before, known = dropped(target), said(target, HEARD) + said(target, REFUSED)
    advertise("management1", ADDRESSES[target], priority)
    wait_for(lambda: dropped(target) > before)
    assert said(target, HEARD) + said(target, REFUSED) == known
    wait_for(answers)


def test_keepalived_itself_asks_who_sent_an_advert() -> None:
    old = holder()
    heard, refused = said(old, HEARD), said(old, REFUSED)
    with without_the_table(old):
        advertise("management1", ADDRESSES[old])
        wait_for(lambda: said(old, REFUSED) > refused)
    assert said(old, HEARD) == heard


def test_adverts_of_others_would_count() -> None:
    """What the two tests before this look for is there when nothing stands in the way."""
    old = holder()
    heard = said(old, HEARD)
    with without_the_table(old), without_the_check(old):
        wait_for(lambda: holder() == old)
        advertise("management1", ADDRESSES[old])
        wait_for(lambda: said(old, HEARD) > heard)
    wait_for(lambda: len(holders()) == 1 and answers())


def test_adverts_are_not_forwarded() -> None:
    """A load balancer that forwards one would give it its own address, as it does with what pods send."""
    name, other = HOSTS
    before, arrived = dropped(name, "forward"), dropped(other)
    sender = node("management1")
    sender.check_output(f"ip route add {ADDRESSES[other]} via {ADDRESSES[name]}")
    try:
        advertise("management1", ADDRESSES[other])
    finally:
        sender.check_output(f"ip route del {ADDRESSES[other]} via {ADDRESSES[name]}")
    assert dropped(name, "forward") > before
    assert dropped(other) == arrived


@pytest.mark.disruptive
def test_the_table_comes_back_when_all_are_emptied() -> None:
    host = node(HOSTS[0])
    # systemctl does not wait for the units that follow another one.
    for command in ("restart", "reload"):
        host.check_output(f"systemctl {command} nftables")
        wait_for(lambda: host.run(f"nft list chain inet {TABLE} input").rc == 0)
        assert dropped(HOSTS[0]) >= 0
    host.check_output("systemctl disable --now nftables")
    host.run("nft flush ruleset")
    changed = changes(converge())
    assert {line.split(":")[0] for line in changed} == {HOSTS[0]}
    assert dropped(HOSTS[0]) >= 0


@pytest.mark.disruptive
@pytest.mark.parametrize("service", ["keepalived", "haproxy"])
def test_the_virtual_ip_leaves_a_host_whose_service_stops(service: str) -> None:
    old = holder()
    node(old).check_output(f"systemctl stop {service}")
    takes_over(old)
    # Nothing on the other host: what was repaired there before is still right.
    assert {line.split(":")[0] for line in changes(converge())} == {old}
    wait_for(answers)


@pytest.mark.disruptive
def test_nothing_is_left_to_repair() -> None:
    assert changes(converge()) == []


@pytest.mark.disruptive
def test_the_virtual_ip_leaves_a_host_that_is_gone() -> None:
    old = holder()
    container = f"cloudbang-molecule-api-loadbalancer-{old}"
    assert run("docker", "pause", container).returncode == 0
    other = next(name for name in HOSTS if name != old)
    try:
        wait_for(answers, 15)
        assert f" {VIP}/" in node(other).check_output("ip -4 -o address show")
    finally:
        run("docker", "unpause", container)
    wait_for(lambda: len(holders()) == 1)
    wait_for(answers)


def gateway(name: str, verb: str) -> None:
    """Start or stop what stands in for the gateway on a host, where the virtual IP's check asks."""
    host = node(name)
    if verb == "start":
        host.check_output(
            "mkdir -p /etc/cloudbang/vip-checks && echo http://127.0.0.1:8405/ > /etc/cloudbang/vip-checks/gateway && "
            "systemd-run --unit=gateway python3 -m http.server --bind 127.0.0.1 --directory /srv 8405"
        )
        wait_for(lambda: host.run("/usr/local/libexec/cloudbang-vip-check gateway").rc == 0)
    else:
        host.check_output("systemctl stop gateway")


def stays(name: str, seconds: float = 8) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert holders() == [name]
        assert answers()


@pytest.mark.disruptive
def test_the_virtual_ip_follows_a_gateway_that_answers() -> None:
    for name in HOSTS:
        gateway(name, "start")
    try:
        old = holder()
        new = next(name for name in HOSTS if name != old)
        gateway(old, "stop")
        takes_over(old)
        gateway(old, "start")
        stays(new)
        gateway(old, "stop")
        gateway(new, "stop")
        stays(new)
    finally:
        for name in HOSTS:
            node(name).check_output("systemctl stop gateway; rm /etc/cloudbang/vip-checks/gateway")
