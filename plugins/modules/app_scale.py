#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set how many replicas of a process run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_scale
short_description: Set how many replicas of a process run
version_added: 1.0.0
description:
  - Sets the replicas of one process of an app. It makes no release, and later deployments keep it.
  - For an app that is stopped it sets how many there will be when it is started.
  - A process that a HorizontalPodAutoscaler scales is refused.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
  - cloudbang.platform.kubernetes
attributes:
  action:
    support: full
  async:
    support: none
  bypass_host_loop:
    support: none
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: posix
options:
  name:
    description: Name of the app.
    type: str
    required: true
  tenant:
    description: Name of its tenant.
    type: str
    required: true
  process:
    description: Name of the process. Only an app of a single process may leave it out.
    type: str
  replicas:
    description: How many are to run, 0 to 10000.
    type: int
    required: true
  wait:
    description: Whether to wait until all of them are ready.
    type: bool
    default: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 300
seealso:
  - module: cloudbang.platform.app
"""

EXAMPLES = r"""
- name: Run six web replicas
  cloudbang.platform.app_scale:
    name: shop
    tenant: acme
    process: web
    replicas: 6
"""

RETURN = r"""
app:
  description: What was scaled.
  returned: when the app exists
  type: dict
  contains:
    name:
      description: Name of the app.
      type: str
    tenant:
      description: Its tenant.
      type: str
    process:
      description: The process.
      type: str
    replicas:
      description: The replicas asked for.
      type: int
    previous_replicas:
      description: The replicas there were.
      type: int
    stopped:
      description: Whether the app is stopped, so that none run yet.
      type: bool
reason:
  description: Why the replicas do not run.
  returned: when waiting for them failed
  type: str
events:
  description: The latest warnings about them.
  returned: when waiting for them failed
  type: list
  elements: str
problems:
  description: Everything that is wrong with the options.
  returned: when options are refused
  type: list
  elements: dict
  contains:
    option:
      description: The option.
      type: str
    found:
      description: What it has.
      type: str
    wanted:
      description: What it should have.
      type: str
unknown:
  description: Whether the answer to a change got lost, so that it may have been made or not.
  returned: when it did
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.arguments import argument_spec
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import run


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    module = AnsibleModule(argument_spec("app_scale"), supports_check_mode=True)
    result = run("app_scale", module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
