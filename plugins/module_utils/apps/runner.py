# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run an app module: check its options, act, mask secrets. Shared by the action plugins and the modules."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from . import bindings, deploy, info, release, routes, scale, stack, templates, tenant_info, tenant_kubeconfig, tenants
from .client import Kube, KubeError, Unknown, connect
from .ledger import LedgerError
from .options import Invalid
from .parse import parse

MASK = "********"

Result = dict[str, Any]

# What carries out a module, once its options are checked: (client, options, check mode) to result.
_MODULES: dict[str, Callable[[Kube, dict[str, Any], bool], Result]] = {
    "app": deploy.run,
    "app_scale": scale.run,
    "app_release": release.run,
    "app_binding": bindings.run,
    "app_stack": stack.run,
    "app_template": templates.run,
    "app_info": info.run,
    "app_route": routes.run,
    "tenant": tenants.run,
    "tenant_kubeconfig": tenant_kubeconfig.run,
    "tenant_info": tenant_info.run,
}


def silent(message: str) -> None:
    """Say nothing about long work."""


def run(
    module: str, given: dict[str, Any], check_mode: bool = False, progress: Callable[[str], None] = silent
) -> Result:
    """Run a module with the options as given and return its result; `failed` and `msg` say what went wrong.

    progress is told about long work.
    """
    hidden: list[str] = [str(given["api_key"])] if given.get("api_key") else []
    try:
        options = parse(module, given)
        hidden += [value for app in options.get("wanted", []) for value in app.secrets]
        # What a module learns to be secret only while it runs, it adds here.
        options["hidden"] = hidden
        options["progress"] = progress
        result = _MODULES[module](connect(options), options, check_mode)
    except Invalid as error:
        result = {
            "failed": True,
            "changed": False,
            "msg": f"{module}: {len(error.problems)} problem(s) with the options: {error}",
            "problems": [problem._asdict() for problem in error.problems],
        }
    except (KubeError, LedgerError) as error:
        result = {"failed": True, "changed": False, "msg": f"{module}: {error}"}
        if isinstance(error, Unknown):
            result["unknown"] = True
    masked: Result = mask(result, hidden)
    return masked


def mask(value: Any, hidden: list[str]) -> Any:
    """Return the value with every secret in its texts replaced."""
    texts = sorted({line for text in hidden for line in (text, *text.splitlines()) if len(line) > 3}, key=len)
    if not texts:
        return value
    pattern = re.compile("|".join(re.escape(text) for text in reversed(texts)))

    def masked(entry: Any) -> Any:
        if isinstance(entry, str):
            return pattern.sub(MASK, entry)
        if isinstance(entry, dict):
            return {key: masked(inner) for key, inner in entry.items()}
        if isinstance(entry, list):
            return [masked(inner) for inner in entry]
        return entry

    return masked(value)
