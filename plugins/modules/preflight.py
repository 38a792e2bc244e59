#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin with the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Find everything that would keep a cluster from being installed
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Judges the whole inventory, and what M(cloudbang.platform.preflight_facts) found on the hosts, in one run. Every
    problem of every host is shown in one table and returned.
  - Runs on the controller whatever the host of the task is; use C(run_once). Lists of members come from the inventory's
    groups, so that a limited run judges the same cluster.
  - Never fails because of a problem; look at RV(errors).
  - The role P(cloudbang.platform.preflight#role) uses it as it is meant.
options:
  stage:
    description:
      - V(inventory) judges what is known without asking a host.
      - V(hosts) judges everything, with the facts that the hosts registered as C(__preflight_facts), and shows the
        table.
    type: str
    choices: [inventory, hosts]
    default: hosts
  ignore:
    description: Identifiers of checks whose errors are only shown as warnings.
    type: list
    elements: str
    default: []
  report:
    description: File on the controller that gets everything as JSON.
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
  description: Everything that was found, errors first.
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
      description: Variable, fact or file that is wrong.
      type: str
    found:
      description: What it is.
      type: str
    wanted:
      description: What it should be.
      type: str
    hint:
      description: What to do about it, when it is not obvious.
      type: str
    severity:
      description: V(error) or V(warning).
      type: str
    message:
      description: All of it in one sentence.
      type: str
errors:
  description: Number of errors.
  type: int
  returned: always
summary:
  description: How many errors there are, in one sentence; empty without any.
  type: str
  returned: always
plan:
  description: What M(cloudbang.platform.preflight_facts) has to look at.
  type: dict
  returned: stage V(inventory)
  contains:
    hosts:
      description: Hosts that can be asked, each with C(address), C(vip), C(vip_port) and C(fsync).
      type: dict
    ways:
      description:
        - What the hosts have to get through to. Keys are names of groups joined by commas; values are lists of name,
          address, port and protocol.
      type: dict
    units:
      description: Units to look for, each with the file that tells that it is the platform's, empty for its own.
      type: dict
seconds:
  description: How long judging took.
  type: float
  returned: always
"""
