# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows in a real switch: exactly the wanted ones, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from private_host import PrivateHost, run

from goodnet.ovs.ofctl import Change, Flows, OfctlError, identity

BRIDGE = "br-test"
ONE = "table=0,priority=10,cookie=0x1,in_port=1,ip,actions=load:0x1->NXM_NX_REG0[],resubmit(,5)"
TWO = "table=5,priority=10,cookie=0x2,ip,nw_dst=10.0.0.0/8,actions=ct(commit,exec(load:1->NXM_NX_CT_MARK[])),output:2"
THREE = "table=5,priority=20,cookie=0x3,conj_id=7,ip,actions=goto_table:6"


@pytest.fixture(scope="module")
def host() -> Iterator[PrivateHost]:
    with PrivateHost("ofctl") as made:
        made.vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure")
        yield made


@pytest.fixture
def flows(host: PrivateHost) -> Flows:
    by_hand(host, "del-flows")
    return Flows(BRIDGE, host.rundir)


def by_hand(host: PrivateHost, command: str, *arguments: str) -> None:
    run("ovs-ofctl", "-O", "OpenFlow14", command, f"unix:{host.rundir}/{BRIDGE}.mgmt", *arguments)


def test_only_what_differs_is_written(host: PrivateHost, flows: Flows) -> None:
    assert flows.write([ONE, TWO]) == Change(added=2)
    assert flows.write([ONE, TWO]) == Change()
    assert len(host.flows(BRIDGE)) == 2
    other = TWO.replace("output:2", "output:3")
    assert flows.write([other, THREE]) == Change(added=1, changed=1, removed=1)
    found = host.flows(BRIDGE)
    assert len(found) == 2 and any("output:3" in flow for flow in found)
    assert not flows.write([other, THREE], whole=True)
    assert flows.write([]) == Change(removed=2)
    assert host.flows(BRIDGE) == []


def test_a_cookie_that_changed_is_a_change(host: PrivateHost, flows: Flows) -> None:
    flows.write([ONE])
    assert flows.write([ONE.replace("cookie=0x1", "cookie=0x9")]) == Change(changed=1)
    (found,) = host.flows(BRIDGE)
    assert "cookie=0x9" in found


def test_the_first_write_takes_over_what_is_there(host: PrivateHost, flows: Flows) -> None:
    Flows(BRIDGE, host.rundir).write([ONE, TWO])
    assert flows.write([TWO, THREE]) == Change(added=1, removed=1)
    assert len(host.flows(BRIDGE)) == 2


def test_drift_is_repaired(host: PrivateHost, flows: Flows) -> None:
    flows.write([ONE, TWO])
    before = host.flows(BRIDGE)
    by_hand(host, "add-flow", "table=9,actions=drop")
    by_hand(host, "del-flows", "table=0")
    by_hand(host, "mod-flows", "table=5,actions=drop")
    assert flows.write([ONE, TWO], whole=True) == Change(added=1, changed=1, removed=1)
    assert host.flows(BRIDGE) == before


def test_a_bundle_goes_in_whole_or_not_at_all(host: PrivateHost, flows: Flows) -> None:
    flows.write([ONE])
    before = host.flows(BRIDGE)
    with pytest.raises(OfctlError, match=r"br-test: .*nonsense"):
        flows.write([TWO, "table=1,priority=1,nonsense=1,actions=drop"])
    assert host.flows(BRIDGE) == before
    # The syntax is right but the switch refuses it: there is no such group.
    with pytest.raises(OfctlError, match="OFPBAC_BAD_OUT_GROUP"):
        flows.write([TWO, "table=1,priority=1,ip,actions=group:77"])
    assert host.flows(BRIDGE) == before


def test_an_error_names_the_flow(flows: Flows) -> None:
    with pytest.raises(OfctlError) as error:
        flows.write([TWO, ONE.replace("in_port=1", "in_prt=1"), THREE])
    assert "in_prt" in str(error.value) and "cookie=0x1" in str(error.value)


def test_after_a_failure_the_next_write_looks_at_the_switch(host: PrivateHost, flows: Flows) -> None:
    flows.write([ONE])
    with pytest.raises(OfctlError):
        flows.write(["nonsense"])
    by_hand(host, "del-flows")
    assert flows.write([ONE]) == Change(added=1)
    assert len(host.flows(BRIDGE)) == 1


def test_a_restart_of_the_switch(host: PrivateHost, flows: Flows) -> None:
    flows.write([ONE, TWO])
    before = host.flows(BRIDGE)
    host.stop_switch()
    with pytest.raises(OfctlError, match="br-test"):
        flows.write([ONE])
    host.start_switch()
    assert flows.write([ONE, TWO]) == Change(added=2)
    assert host.flows(BRIDGE) == before


def test_ports_of_fragments_are_seen_after_every_start_of_the_switch(host: PrivateHost, flows: Flows) -> None:
    def mode() -> str:
        return run("ovs-ofctl", "-O", "OpenFlow14", "get-frags", f"unix:{host.rundir}/{BRIDGE}.mgmt").strip()

    flows.write([ONE])
    assert mode() == "nx-match"
    host.stop_switch()
    host.start_switch()
    assert mode() == "normal"
    flows.write([ONE], whole=True)
    assert mode() == "nx-match"


def test_wishes_of_many_threads_end_with_one_of_them_whole(host: PrivateHost, flows: Flows) -> None:
    wishes = [[f"table=7,priority={number},ip,actions=drop", ONE] for number in range(101, 121)]
    with ThreadPoolExecutor(len(wishes)) as pool:
        list(pool.map(flows.write, wishes))
    found = host.flows(BRIDGE)
    (last,) = (wish for number, wish in enumerate(wishes, 101) if any(f"priority={number}," in flow for flow in found))
    assert len(found) == 2
    assert flows.write(last) == Change()
    assert flows.write(last, whole=True) == Change()


@pytest.mark.parametrize(
    ("flow", "wanted"),
    [
        (ONE, "table=0,priority=10,in_port=1,ip"),
        (" table=5 priority=10,ip cookie=0x2 actions=drop", "table=5,priority=10,ip"),
        ("priority=1,actions=resubmit(,5)", "priority=1"),
        ("actions=drop", ""),
    ],
)
def test_the_identity_of_a_flow(flow: str, wanted: str) -> None:
    assert identity(flow) == wanted
