# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about a request that the API refused: what a member of a tenant asks an administrator for. Pure."""

from __future__ import annotations

import re

# A piece of the API's message, and what to do. The first one that fits is taken.
_ADVICE = (
    (
        re.compile(r"denied request: .*annotation cloudbang\.platform/(domains|tolerations|priority-classes|images)\b"),
        "ask an administrator for more in the option {} of the tenant (module tenant)",
    ),
    (
        re.compile(r"exceeded quota: cloudbang-tenant\b"),
        "remove what is not needed, or ask an administrator for more: quota and objects of the tenant (module tenant)",
    ),
    (
        re.compile(r"cannot (?:create|update|patch) resource \"[a-z]+\" in API group \"traefik\.io\""),
        "only administrators create routes: use domains of the app, or ask one to run app_route or app_stack",
    ),
    (
        re.compile(r"cannot [a-z]+ resource \"(?:namespaces|flowschemas)\""),
        "ask an administrator to create or change the tenant (module tenant)",
    ),
    (
        re.compile(r"cannot [a-z]+ resource \"[a-z/]+\" in API group \"[^\"]*\" in the namespace \""),
        "ask an administrator to do it, or for a role in this tenant that allows it (members of module tenant)",
    ),
    (re.compile(r"cannot [a-z]+ resource \""), "credentials of an administrator"),
)


def advice(status: int, message: str) -> str:
    """Return what to add to the API's message of a refusal; nothing when it is about something else."""
    if status not in (403, 413, 422):
        return ""
    for pattern, text in _ADVICE:
        found = pattern.search(message)
        if found:
            return f"; wanted: {text.format(*(option.replace('-', '_') for option in found.groups()))}"
    return ""
