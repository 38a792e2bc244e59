#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the phases of the demo and show how long each took.

Usage: phases.py demo
"""

from __future__ import annotations

import subprocess
import sys
import time

PHASES = {
    "demo": [
        ("artifacts and lab", "cloudbang.platform.lab_up"),
        ("platform", "cloudbang.platform.site"),
        ("application", "cloudbang.platform.demo"),
    ]
}


def main() -> int:
    rows = []
    for name, playbook in PHASES[sys.argv[1]]:
        print(f"\n=== {name}", flush=True)
        begin = time.monotonic()
        status = subprocess.call(["ansible-playbook", "-i", "inventories/lab", playbook])
        rows.append((name, time.monotonic() - begin))
        if status:
            print(f"\nThe phase '{name}' failed; the message is above. The same command goes on from there.")
            return status
    print("\n{:<20} {:>10}".format("phase", "seconds"))
    for name, seconds in [*rows, ("all", sum(seconds for _name, seconds in rows))]:
        print(f"{name:<20} {seconds:>10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
