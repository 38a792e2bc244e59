# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of how the controller is set up: what hosts, mirrors and those on the way could give it."""

from __future__ import annotations

from collections.abc import Iterator

from ..artifacts.resolve import mirror_problem
from .inventory import Inventory, Problem, check

HOST = "controller"


@check("inventory")
def facts_are_no_variables(inventory: Inventory) -> Iterator[Problem]:
    """A host returns facts of any name, at any time: as variables they would come before those of the roles."""
    if inventory.inject_facts:
        yield Problem(
            HOST,
            "facts_as_variables",
            "inject_facts_as_vars",
            "true, with which a host can set variables such as artifacts_mirror",
            "false",
            "set inject_facts_as_vars = false below [defaults] in ansible.cfg, or ANSIBLE_INJECT_FACT_VARS=false",
        )


@check("inventory")
def mirror_is_pinned(inventory: Inventory) -> Iterator[Problem]:
    hosts = inventory.nodes or inventory.hosts[:1]
    found = {}
    for host in hosts:
        source, mirror, pinned = (
            str(inventory.get(host, "artifacts_" + name, "")) for name in ("source", "mirror", "mirror_sha256")
        )
        wrong = mirror_problem(mirror if source == "mirror" else None, pinned.lower())
        if wrong is not None:
            found[host] = wrong
    for host, (text, wanted) in found.items():
        yield Problem(host, "mirror_unpinned", "artifacts_mirror_sha256", text, wanted)
