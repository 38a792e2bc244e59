# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How tests connect to nodes: one connection to each, which every command uses."""

from __future__ import annotations

from pathlib import Path

# Paths of sockets are short, and a home directory is nearer than a scenario's.
SOCKETS = Path.home() / ".ansible" / "cp"


def options(known_hosts: Path) -> list[str]:
    """Return the options of ssh. Within 9 s a connection notices that its node is gone, and the next command opens
    another one.
    """
    SOCKETS.mkdir(mode=0o700, parents=True, exist_ok=True)
    given = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "ControlMaster": "auto",
        "ControlPath": f"{SOCKETS}/test-%C",
        "ControlPersist": "60s",
        "IdentitiesOnly": "yes",
        "ServerAliveCountMax": "3",
        "ServerAliveInterval": "3",
        "UserKnownHostsFile": str(known_hosts),
    }
    return [word for name, value in given.items() for word in ("-o", f"{name}={value}")]
