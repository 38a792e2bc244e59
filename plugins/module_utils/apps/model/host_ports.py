# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of instances in the hosts' network: who holds which, and the next free one. Pure."""

from __future__ import annotations

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding

from .options import Invalid


class Ports:
    """Who holds which port, with those that the plans of this task will claim."""

    def __init__(self, held: dict[int, str]) -> None:
        self._by_number = dict(held)
        self.by_holder = {holder: number for number, holder in held.items()}

    def port(self, holder: str, bounds: tuple[int, int]) -> int:
        """Return the port of a holder: the one it has, else the lowest free one. Invalid when none is free."""
        if holder not in self.by_holder:
            low, high = bounds
            number = next((port for port in range(low, high + 1) if port not in self._by_number), None)
            if number is None:
                found = f"{low}-{high}, of which every port is taken"
                raise Invalid([Finding("host_ports", found, "a range with a free port, or fewer instances")])
            self._by_number[number] = holder
            self.by_holder[holder] = number
        return self.by_holder[holder]


def holder(tenant: str, app: str, process: str, instance: int, port: str) -> str:
    """Return how the record names an instance's port."""
    return f"{tenant}/{app}/{process}/{instance}/{port}"
