# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finding: where something is wrong, what was found there, and what is wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. where: an option with the path to it, as in `processes[0].port`, or an object."""

    where: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}, wanted {self.wanted}"

    def at(self, where: str) -> Finding:
        """Return the finding at another place."""
        return replace(self, where=where)

    def below(self, prefix: str) -> Finding:
        """Return the finding with a prefix before its place."""
        return self.at(prefix + self.where)

    def as_dict(self) -> dict[str, str]:
        """Return the finding as results of modules show it."""
        return {"option": self.where, "found": self.found, "wanted": self.wanted}
