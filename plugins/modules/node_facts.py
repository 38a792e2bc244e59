#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of a host that the roles use."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_facts
short_description: Gather the facts that the roles of a cluster use
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Finds the interface with the node's address, and features of the kernel. Much faster than gathering all facts.
options:
  address:
    description: IPv4 address of the node.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Changes nothing.
"""

EXAMPLES = r"""
- name: Gather facts
  cloudbang.platform.node_facts:
    address: "{{ ansible_host }}"
"""

RETURN = r"""
ansible_facts:
  description: Facts about the node.
  returned: success
  type: dict
  contains:
    cloudbang_interface:
      description: Name of the interface with the address.
      type: str
    cloudbang_prefix:
      description: Prefix length of the address.
      type: int
    cloudbang_mtu:
      description: MTU of the interface in bytes.
      type: int
    cloudbang_cgroup_v2:
      description: Whether the host manages resources with cgroup version 2.
      type: bool
    cloudbang_addresses:
      description: IPv4 addresses by interface, without interfaces that have none.
      type: dict
    cloudbang_openvswitch:
      description: Whether the kernel has the module openvswitch.
      type: bool
"""

import json
import os
import shutil

from ansible.module_utils.basic import AnsibleModule


def has_module(module: AnsibleModule, name: str) -> bool:
    """Return whether a kernel module is loaded, or can be."""
    if os.path.isdir(f"/sys/module/{name}"):
        return True
    program = shutil.which("modprobe", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return bool(program) and module.run_command([program, "--dry-run", "--quiet", name])[0] == 0


def main() -> None:
    module = AnsibleModule(argument_spec={"address": {"type": "str", "required": True}}, supports_check_mode=True)
    address = module.params["address"]
    _code, out, _err = module.run_command(["ip", "-json", "-4", "address", "show"], check_rc=True)
    links = json.loads(out)
    for link in links:
        for one in link.get("addr_info", []):
            if one.get("local") == address:
                module.exit_json(
                    changed=False,
                    ansible_facts={
                        "cloudbang_interface": link["ifname"],
                        "cloudbang_prefix": one["prefixlen"],
                        "cloudbang_mtu": link["mtu"],
                        "cloudbang_cgroup_v2": os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
                        "cloudbang_addresses": {
                            other["ifname"]: [entry["local"] for entry in other.get("addr_info", [])] for other in links
                        },
                        "cloudbang_openvswitch": has_module(module, "openvswitch"),
                    },
                )
    module.fail_json(
        msg=f"cloudbang_node_address: found no interface of this host with {address}; set it to an address of the host"
    )


if __name__ == "__main__":
    main()
