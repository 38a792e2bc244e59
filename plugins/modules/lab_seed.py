#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of an action that runs on the controller only."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_seed
short_description: Create the SSH keys and machine IDs of lab nodes
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Creates, on the controller, an SSH key for the user, a host key and a machine ID for every node, and a
    C(known_hosts) file with the nodes' keys, so that host key checking works from the first connection.
  - Keeps existing keys. The machine ID is derived from the names of lab and node.
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
    description: Writes nothing.
    support: full
  diff_mode:
    description: Shows what differs.
    support: none
  idempotent:
    description: Keeps existing keys.
    support: full
"""

EXAMPLES = r"""
- name: Create keys for two nodes
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
  description: For each node, a digest of the files that it reads from its directory at boot.
  type: dict
  returned: always
  sample: {"one": "0f3b8e5a9c1d2e4f"}
"""
