# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of this host's packet filter that GoodNet needs. Each table is written as a whole, whatever is there."""

from __future__ import annotations

import subprocess

# What a datapath in user space takes from an interface comes to the kernel as well, which would answer and forward it
# behind the bridge's back: a second time, and past the spoof guard, the tenants and the policies.
_GUARD = """
table inet {name}
delete table inet {name}
table inet {name} {{
  chain beside {{
    type filter hook prerouting priority raw; policy accept;
    {rules}
  }}
}}
table arp {name}
delete table arp {name}
table arp {name} {{
  chain beside {{
    type filter hook input priority filter; policy accept;
    {rules}
  }}
}}
"""


def load(rules: str) -> None:
    """Carry out a file of nft, whole or not at all. OSError when it is refused."""
    try:
        done = subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True, check=False, timeout=30)
    except subprocess.TimeoutExpired:
        raise OSError("nft did not end within 30 s") from None
    if done.returncode:
        raise OSError(f"nft refused rules of GoodNet: {done.stderr.strip()}; look at `nft list ruleset`")


def guard(name: str, *interfaces: str) -> None:
    """Keep the kernel from what comes in by ports of a bridge in user space. interfaces: matches of nft."""
    load(_GUARD.format(name=name, rules="\n    ".join(f"{match} drop" for match in interfaces)))


def remove_guard(name: str) -> None:
    """Take it back; it may be gone."""
    load("".join(f"table {family} {name}\ndelete table {family} {name}\n" for family in ("inet", "arp")))
