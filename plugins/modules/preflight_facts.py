#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather the facts that preflight checks on one host, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_facts
short_description: Gather facts of a host before an installation
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Returns the facts that M(cloudbang.platform.preflight) checks - system, resources, addresses, ports in use, kernel
    features, clock, and whether the other nodes can be reached. Nothing on the host is changed.
  - A host that cannot be reached, without Python or without root access does not fail this task. It is returned with
    RV(facts.reached) false and the reason, so that one run reports all hosts.
options:
  plan:
    description:
      - RV(cloudbang.platform.preflight#module:plan) of M(cloudbang.platform.preflight). Only the host's own part is
        sent to it.
    type: dict
    default: {}
  disks:
    description: Directories whose free space is measured. For a missing one, its closest existing parent.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    support: full
    description: Changes nothing.
requirements:
  - Python 3.9 on the host
"""

EXAMPLES = r"""
- name: Gather preflight facts of the host
  cloudbang.platform.preflight_facts:
    plan: "{{ __preflight_inventory.plan }}"
    disks: [/var/lib]
  register: __preflight_facts
"""

RETURN = r"""
facts:
  description: Facts of the host.
  type: dict
  returned: always
  contains:
    reached:
      description: Whether the host answered.
      type: bool
    reason:
      description: Why the host did not answer.
      type: str
    skew:
      description: Minimum seconds by which the host's clock is ahead of the controller's, negative if it is behind.
      type: float
    listeners:
      description: Open ports with C(protocol), C(address), C(port) and C(process).
      type: list
      elements: dict
    interfaces:
      description: MTU and addresses by interface.
      type: dict
    probes:
      description: Name, address, port, protocol and result of each connection that was tried.
      type: list
      elements: list
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cloudbang.platform.plugins.module_utils.host.examine import examine


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "plan": {"type": "dict", "default": {}},
            "disks": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, facts=examine({**module.params["plan"], "disks": module.params["disks"]}))


if __name__ == "__main__":
    main()
