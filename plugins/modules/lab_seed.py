#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of an action that runs on the controller only."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_seed
short_description: Make the SSH keys and machine IDs of lab nodes
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Makes, on the controller, an SSH key for the user, a host key and a machine ID for every node, and a C(known_hosts)
    file with the nodes' keys, so that host key checking stays on from the first connection.
  - Keeps what is there. The machine ID follows from the names of lab and node.
options:
  path:
    description: Directory on the controller.
    type: path
    required: true
  lab:
    description: Name of the lab.
    type: str
    required: true
  nodes:
    description: All nodes of the lab.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the node.
        type: str
        required: true
      address:
        description: Address at which SSH reaches the node.
        type: str
        required: true
requirements:
  - cryptography (Python package) on the controller
attributes:
  check_mode:
    description: Can run in check mode without writing anything.
    support: full
  diff_mode:
    description: Shows what differs.
    support: none
  idempotent:
    description: Keeps keys that are there.
    support: full
"""

EXAMPLES = r"""
- name: Make keys for two nodes
  cloudbang.platform.lab_seed:
    path: build/lab
    lab: demo
    nodes:
      - name: one
        address: 10.92.0.11
      - name: two
        address: 10.92.0.12
"""

RETURN = r"""
digests:
  description: For each node a digest of what it takes from its directory at boot.
  type: dict
  returned: always
  sample: {"one": "0f3b8e5a9c1d2e4f"}
"""
