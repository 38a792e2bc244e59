#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin with the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: authorities
short_description: Create a cluster's certificate authorities, key pairs and secrets on the controller
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Creates missing files in a directory of the controller that only its owner can read. Existing files are checked and
    kept.
  - Runs on the controller, whatever the host of the task; use C(run_once).
options:
  directory:
    description: Directory on the controller, created with mode V(0700).
    type: path
    required: true
  authorities:
    description: Common names of authorities by name. C(NAME.crt) and C(NAME.key) are created.
    type: dict
    default: {}
  key_pairs:
    description: Names of plain EC P-256 key pairs. C(NAME.key) and C(NAME.pub) are created.
    type: list
    elements: str
    default: []
  secrets:
    description: Names of files that hold 32 random bytes in base64.
    type: list
    elements: str
    default: []
  htpasswd:
    description: Names of the secrets with the passwords of users, by user name. C(USER.htpasswd) is created, with
      bcrypt.
    type: dict
    default: {}
  addresses:
    description:
      - Addresses of the directory's cluster, such as those of its management hosts. They are recorded in
        C(cluster.json).
      - A directory whose record has none of them belongs to another cluster and is refused.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Returns the names of the files that would be created.
"""

EXAMPLES = r"""
- name: Create the authorities
  cloudbang.platform.authorities:
    directory: /root/.local/share/cloudbang/prod/pki
    authorities:
      etcd-ca: prod etcd
    key_pairs: [service-account]
  run_once: true
"""

RETURN = r"""
made:
  description: Names that were, or in check mode would be, created.
  type: list
  elements: str
  returned: always
"""
