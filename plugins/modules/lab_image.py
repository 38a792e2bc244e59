#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of an action that runs on the controller only."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_image
short_description: Build a container image from Debian packages
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Builds a root file system from Debian packages with C(debootstrap) and imports it into the Docker engine of the
    controller, so that no image registry is needed.
  - The packed root file system and the downloaded packages are cached. The image's tag is a digest of the recipe and of
    the files added to it, so that it is rebuilt only if one of them changes.
  - Images of earlier recipes under the same name are removed unless a container uses them.
options:
  name:
    description: Name of the image without a tag.
    type: str
    required: true
  recipe:
    description:
      - Recipe of the root file system. Its keys are C(suite), the release; C(packages), installed beside the
        minimal system; C(mask) and C(disable), systemd units; C(remove), glob patterns of paths to delete.
    type: dict
    required: true
  overlay:
    description: Directory on the controller whose files are copied over the root file system.
    type: path
  init:
    description: Path of the program that containers start.
    type: str
    required: true
  cache_dir:
    description: Directory on the controller for packed root file systems and packages. Safe to delete.
    type: path
    default: ~/.cache/cloudbang
requirements:
  - debootstrap, gpgv, debian-archive-keyring, unshare, setpriv, tar and zstd on the controller
  - docker (Python package) on the controller
  - root on the controller when the root file system is not in the cache
attributes:
  check_mode:
    description: Returns whether the image is missing.
    support: full
  diff_mode:
    description: Shows what differs.
    support: none
  idempotent:
    description: Changes nothing if the image exists.
    support: full
"""

EXAMPLES = r"""
- name: Build the image of the lab's nodes
  cloudbang.platform.lab_image:
    name: cloudbang-lab-node
    init: /sbin/init
    recipe:
      suite: trixie
      packages: [systemd, systemd-sysv, openssh-server]
      mask: [systemd-udevd.service]
"""

RETURN = r"""
image:
  description: Name of the image with its tag.
  type: str
  returned: always
  sample: cloudbang-lab-node:1f0c3a5b7d9e
id:
  description: Digest of the image, null in check mode if it is missing.
  type: str
  returned: always
"""
