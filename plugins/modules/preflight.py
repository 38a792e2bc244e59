#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin with the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check inventory and hosts before an installation
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Checks the whole inventory, and the facts of M(cloudbang.platform.preflight_facts), in one run. All findings of all
    hosts are shown in one table and returned.
  - Runs on the controller, whatever the host of the task; use C(run_once). Lists of members come from the inventory's
    groups, so that a limited run checks the same cluster.
  - Never fails because of a finding; check RV(errors).
  - The role P(cloudbang.platform.preflight#role) shows its intended use.
options:
  stage:
    description:
      - V(inventory) checks the inventory without contacting a host.
      - V(hosts) checks everything, with the facts that the hosts registered as C(__preflight_facts), and shows the
        table.
    type: str
    choices: [inventory, hosts]
    default: hosts
  ignore:
    description: Identifiers of checks whose errors become warnings.
    type: list
    elements: str
    default: []
  report:
    description: File on the controller for all findings, as JSON.
    type: path
attributes:
  check_mode:
    support: full
    description: Changes nothing on any host. The report is written in check mode too.
requirements:
  - cryptography >= 42 on the controller
"""

EXAMPLES = r"""
- name: Check the inventory before any host is contacted
  cloudbang.platform.preflight:
    stage: inventory
  run_once: true
  register: __preflight_inventory
"""

RETURN = r"""
problems:
  description: All findings, errors first.
  type: list
  elements: dict
  returned: always
  contains:
    host:
      description: Inventory host, C(all hosts), C(inventory) or C(controller).
      type: str
    check:
      description: Identifier of the check, for O(ignore).
      type: str
    variable:
      description: Variable, fact or file with the error.
      type: str
    found:
      description: Its value.
      type: str
    wanted:
      description: What is allowed instead.
      type: str
    hint:
      description: How to correct it, if that is not obvious.
      type: str
    severity:
      description: V(error) or V(warning).
      type: str
    message:
      description: The finding in one sentence.
      type: str
errors:
  description: Number of errors.
  type: int
  returned: always
summary:
  description: The number of errors, in one sentence; empty without errors.
  type: str
  returned: always
plan:
  description: Input of M(cloudbang.platform.preflight_facts).
  type: dict
  returned: stage V(inventory)
  contains:
    hosts:
      description: Hosts that can be contacted, each with C(address), C(vip), C(vip_port) and C(fsync).
      type: dict
    ways:
      description:
        - Connections that the hosts need. Keys are names of groups joined by commas; values are lists of name, address,
          port and protocol.
      type: dict
    units:
      description: Units to look for, each with the file that marks it as the platform's, empty for the platform's own
        units.
      type: dict
seconds:
  description: Duration of the checks.
  type: float
  returned: always
"""
