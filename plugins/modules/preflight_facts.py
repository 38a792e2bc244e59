#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at one host, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_facts
short_description: Look at a host before anything is installed on it
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Returns what M(cloudbang.platform.preflight) judges - system, resources, addresses, ports in use, kernel features,
    clock, and whether the other nodes can be reached. Nothing on the host is changed.
  - A host that cannot be reached, that has no Python or on which root cannot be had is not an error of this task. It is
    returned with RV(facts.reached) false and the reason, so that one run reports all hosts.
options:
  plan:
    description:
      - What to look at, as M(cloudbang.platform.preflight) returns it. The host is sent its own part.
    type: dict
    default: {}
  disks:
    description: Directories whose free space is measured. Of one that does not exist, the closest one above it.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    support: full
    description: Never changes anything.
requirements:
  - Python 3.9 on the host
"""

EXAMPLES = r"""
- name: Look at the host
  cloudbang.platform.preflight_facts:
    plan: "{{ __preflight_inventory.plan }}"
    disks: [/var/lib]
  register: __preflight_facts
"""

RETURN = r"""
facts:
  description: What was found.
  type: dict
  returned: always
  contains:
    reached:
      description: Whether the host gave an answer.
      type: bool
    reason:
      description: Why it did not.
      type: str
    skew:
      description: Seconds that the host's clock is at least ahead of the controller's, negative when it is behind.
      type: float
    listeners:
      description: Open ports with C(protocol), C(address), C(port) and C(process).
      type: list
      elements: dict
    interfaces:
      description: MTU and addresses by interface.
      type: dict
    probes:
      description: Name, address, port, protocol and result for each way that was tried.
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
