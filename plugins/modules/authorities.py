#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin with the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: authorities
short_description: Make a cluster's certificate authorities, key pairs and secrets on the controller
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Makes what is missing in a directory of the controller that only its owner can read. What exists is checked and
    kept.
  - Runs on the controller whatever the host of the task is; use C(run_once).
options:
  directory:
    description: Directory on the controller, made with mode V(0700).
    type: path
    required: true
  authorities:
    description: Names of authorities with their common names. C(NAME.crt) and C(NAME.key) are made.
    type: dict
    default: {}
  key_pairs:
    description: Names of plain EC P-256 key pairs. C(NAME.key) and C(NAME.pub) are made.
    type: list
    elements: str
    default: []
  secrets:
    description: Names of files that hold 32 random bytes in base64.
    type: list
    elements: str
    default: []
  htpasswd:
    description: User names with the name of the secret that is their password. C(USER.htpasswd) is made, with bcrypt.
    type: dict
    default: {}
  addresses:
    description:
      - Addresses of the cluster that the directory is of, such as those of its management hosts. They are recorded in
        C(cluster.json).
      - A directory with a record that has none of them is another cluster's, and refused.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Says what would be made.
"""

EXAMPLES = r"""
- name: Make the authorities
  cloudbang.platform.authorities:
    directory: /root/.local/share/cloudbang/prod/pki
    authorities:
      etcd-ca: prod etcd
    key_pairs: [service-account]
  run_once: true
"""

RETURN = r"""
made:
  description: Names of what was, or in check mode would be, made.
  type: list
  elements: str
  returned: always
"""
