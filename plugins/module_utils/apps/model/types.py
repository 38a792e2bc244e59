# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of apps: one row each. A new type is a row, and what renders its kind of workload. Pure."""

from __future__ import annotations

from dataclasses import dataclass

STRATEGIES = ("rolling", "recreate", "blue_green")


@dataclass(frozen=True)
class AppType:
    """What makes a type different from others.

    `workload` is the kind of object that makes its pods. `lasting` processes run until they are stopped and have
    replicas, the others run to an end. A `routed` app has an address and may have domains; one that `listens` must have
    a process with a TCP port for them. A `scheduled` app starts again and again, one that runs `once` does so with each
    release. `longest` is the length in characters of the longest name of a workload: Kubernetes makes labels of 63
    characters at most of the names of pods and Jobs.
    """

    workload: str
    lasting: bool = False
    routed: bool = False
    listens: bool = False
    scheduled: bool = False
    once: bool = False
    host_network: bool = False
    strategies: tuple[str, ...] = ("rolling",)
    longest: int = 63


TYPES = {
    "web": AppType("Deployment", lasting=True, routed=True, listens=True, host_network=True, strategies=STRATEGIES),
    "worker": AppType("Deployment", lasting=True, host_network=True, strategies=STRATEGIES),
    "stateful": AppType("StatefulSet", lasting=True, routed=True, longest=52),
    "cron": AppType("CronJob", scheduled=True, longest=52),
    "job": AppType("Job", once=True, longest=52),
}
DEFAULT = "web"
ON_HOSTS = tuple(name for name, row in TYPES.items() if row.host_network)
