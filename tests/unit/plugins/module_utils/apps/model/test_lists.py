# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of routes and tenants in one task: what holds for all of them, and where something is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse, written_out

SHOP = {"app": "shop", "domains": ["shop.example.org"]}


def wrong(module: str, **options: Any) -> list[tuple[str, str]]:
    """Return the options that are refused, each with what it should be."""
    with pytest.raises(Invalid) as caught:
        parse(module, options)
    return [(finding.where, finding.wanted) for finding in caught.value.findings]


def test_options_beside_routes_hold_for_all_that_do_not_set_them() -> None:
    given = {
        "tenant": "acme",
        "tls": "none",
        "routes": [SHOP, {**SHOP, "name": "b", "tenant": "blue", "tls": "cluster"}],
    }
    (first, one), (second, other) = parse("app_route", given)
    assert (first, second) == ("routes[0]", "routes[1]")
    assert (one.route.tenant, one.route.tls, one.route.name) == ("acme", "none", "shop")
    assert (other.route.tenant, other.route.tls, other.route.name) == ("blue", "cluster", "b")


def test_tenants_have_defaults_of_their_own() -> None:
    entries = parse("tenant", {"state": "absent", "tenants": [{"name": "a"}, {"name": "b", "state": "present"}]})
    assert [(entry.name, entry.state, entry.network) for _where, entry in entries] == [
        ("a", "absent", "isolated"),
        ("b", "present", "isolated"),
    ]


def test_a_task_that_was_written_out_stays_as_it_is() -> None:
    """What is sent to a target is checked there again."""
    once = written_out("app_route", {"tenant": "acme", "tls": "none", "routes": [SHOP]})
    assert once == {"routes": [{**SHOP, "tenant": "acme", "tls": {"mode": "none"}}]}
    assert written_out("app_route", once) == once


@pytest.mark.parametrize(
    ("module", "options", "found"),
    [
        ("app_route", {"tenant": "a", "routes": []}, ("routes", "at least one route")),
        ("tenant", {"tenants": []}, ("tenants", "at least one tenant")),
        ("tenant", {"name": "a", "tenants": [{"name": "b"}]}, ("name", "either name or tenants")),
        ("tenant", {"tenants": [{"name": "b"}, {"name": "b"}]}, ("tenants[1].name", "each tenant once")),
        ("app_route", {"tenant": "a", "routes": [SHOP, SHOP]}, ("routes[1].name", "each route once")),
        ("tenant", {"tenants": [{}]}, ("tenants[0].name", "the name of the tenant")),
        ("tenant", {}, ("name", "the name of the tenant")),
        ("app_route", {"routes": [SHOP]}, ("routes[0].tenant", "the tenant's name, which is its namespace")),
        ("app_route", SHOP, ("tenant", "the tenant's name, which is its namespace")),
    ],
)
def test_what_is_wrong_has_its_place(module: str, options: dict[str, Any], found: tuple[str, str]) -> None:
    assert wrong(module, **options) == [found]


def test_waiting_is_of_the_task() -> None:
    (option, wanted), *rest = wrong("app_route", tenant="a", routes=[{**SHOP, "wait": False}])
    assert option == "routes[0].wait" and "domains" in wanted and not rest


def test_every_entry_is_checked() -> None:
    entries = [
        {"app": "a", "domains": ["Shop", "shop.example.com"]},
        SHOP,
        {"app": "blog", "domains": ["b.example.org"], "redirect": 7},
    ]
    assert [option for option, _wanted in wrong("app_route", tenant="a", routes=entries)] == [
        "routes[0].domains[0]",
        "routes[2].redirect",
    ]
