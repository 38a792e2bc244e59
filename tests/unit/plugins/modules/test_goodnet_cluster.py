# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written into the ConfigMaps of a GoodNet, beside what others have written there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.modules.goodnet_cluster import ClusterError, differences, merged

RANGE = (1, 4)
OTHER = {"blue": '{"vni": 2, "external": "203.0.113.2"}'}


def entries(data: dict[str, str]) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in data.items()}


@pytest.mark.parametrize(
    ("present", "tenants", "result"),
    [
        ({}, {}, {}),
        ({}, {"red": {}}, {"red": {"vni": 1}}),
        ({}, {"red": None}, {"red": {"vni": 1}}),
        ({}, {"red": {"vni": 9}}, {"red": {"vni": 9}}),
        # A demanded number comes before one that is looked for.
        ({}, {"amber": {}, "red": {"vni": 1}}, {"amber": {"vni": 2}, "red": {"vni": 1}}),
        ({}, {"red": {"external": "203.0.113.9"}}, {"red": {"vni": 1, "external": "203.0.113.9"}}),
        ({"red": '{"vni": 3}'}, {"red": {}}, {"red": {"vni": 3}}),
        ({"red": '{"vni": 3, "external": "203.0.113.9"}'}, {"red": {}}, {"red": {"vni": 3, "external": "203.0.113.9"}}),
        ({"red": '{"vni": 3, "external": "203.0.113.9"}'}, {"red": {"external": ""}}, {"red": {"vni": 3}}),
        ({"red": '{"vni": 3'}, {"red": {}}, {"red": {"vni": 1}}),
    ],
)
def test_entries(present: dict[str, str], tenants: dict[str, Any], result: dict[str, Any]) -> None:
    data = merged({**present, **OTHER}, tenants, RANGE) if "amber" not in tenants else merged(present, tenants, RANGE)
    others = OTHER if "amber" not in tenants else {}
    assert entries(data) == {**result, **entries(others)}
    # Again there is nothing to do, and what others wrote is as they wrote it.
    assert merged(data, tenants, RANGE) == data
    assert others.items() <= data.items()


@pytest.mark.parametrize(
    ("tenants", "message"),
    [
        ({"red": {"vni": 2}}, "goodnet_tenants.red.vni: found 2, which tenant blue has"),
        ({"blue": {"vni": 3}}, "goodnet_tenants.blue.vni: found 3, wanted 2, which the tenant has"),
        ({name: {} for name in "acde"}, "goodnet_vni_range: found all of 1 to 4 in use"),
    ],
)
def test_refused(tenants: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        merged(OTHER, tenants, RANGE)


def test_what_a_cluster_runs_with_is_kept() -> None:
    found = {"encapsulation": "vxlan", "pod_cidr": "10.244.0.0/16"}
    assert differences(found, found) == []
    assert differences({}, found) == []
    assert differences(found, {**found, "encapsulation": "gre"}) == ["encapsulation: found vxlan, wanted gre"]
