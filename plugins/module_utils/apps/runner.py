# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an app module: check its options, act, mask secrets. Shared by the action plugins and the modules."""

from __future__ import annotations

import dataclasses
import os
import re
import traceback
from collections.abc import Callable
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import (
    bind,
    build,
    deploy,
    info,
    release,
    route,
    scale,
    stack,
    template,
    tenant,
    tenant_info,
    tenant_kubeconfig,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions.context import (
    Context,
    Outcome,
    silent,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.arguments import LISTS, arguments
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import FALSE, TRUE, Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import connection, parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.refusals import advice
from ansible_collections.cloudbang.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.client import Kube, Unknown, connect
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown, visible

MASK = "********"
SHORT = 3
# What in a result are texts of programs and messages.
PROSE = ("msg", "reason", "log", "logs", "events", "warnings")
# What in a result is a name that the task gave. A value in a file of environment may be the same word.
NAMES = ("name", "tenant", "app")
MAX_WARNINGS = 20

Result = dict[str, Any]

# The action of each module, which takes the request that the module's options make.
_ACTIONS: dict[str, Callable[[Context, Any], Outcome]] = {
    "app": deploy.run,
    "app_build": build.run,
    "app_scale": scale.run,
    "app_release": release.run,
    "app_binding": bind.run,
    "app_stack": stack.run,
    "app_template": template.run,
    "app_info": info.run,
    "app_route": route.run,
    "tenant": tenant.run,
    "tenant_kubeconfig": tenant_kubeconfig.run,
    "tenant_info": tenant_info.run,
}


def argument_spec(module: str) -> dict[str, Any]:
    """Return the options of a module as AnsibleModule wants them: "env" becomes a fallback."""
    from ansible.module_utils.basic import env_fallback

    spec: dict[str, Any] = {}
    for name, option in arguments(module).items():
        spec[name] = {key: value for key, value in option.items() if key != "env"}
        if "env" in option:
            spec[name]["fallback"] = (env_fallback, [option["env"]])
    return spec


def on_target(module: str) -> None:
    """Run a module in a process that Ansible has started with its options, and end the process."""
    from ansible.module_utils.basic import AnsibleModule

    class Module(AnsibleModule):
        def _log_invocation(self) -> None:
            """Write no options into the log of the host: those of stacks and templates have secrets at any depth."""

    task = Module(argument_spec(module), supports_check_mode=True)
    # For the same reason the result does not repeat them.
    result = {"invocation": {}, **run(module, task.params, task.check_mode)}
    if result.get("failed"):
        task.fail_json(**result)
    task.exit_json(**result)


def run(
    module: str, given: dict[str, Any], check_mode: bool = False, progress: Callable[[str], None] = silent
) -> Result:
    """Run a module with the options as given and return its result; `failed` and `msg` say what went wrong.

    progress is told about long work.
    """
    hidden: list[str] = [str(given["api_key"])] if given.get("api_key") else []
    kube: Kube | None = None
    try:
        request = parse(module, given)
        kube = connect(connection(given), advice)
        context = Context(kube, check_mode, lambda message: progress(visible(message)), hidden)
        if isinstance(request, list):
            result = _each(module, context, request)
        else:
            result = result_of(_ACTIONS[module](context, request))
    except Exception as error:
        result = failure(module, error, kube is not None and kube.changed)
    warnings = [*result.get("warnings", []), *(kube.warnings if kube is not None else ())]
    if warnings:
        result["warnings"] = told(warnings)
    if "msg" in result:
        # A failed task's message is shown as it is.
        result["msg"] = visible(result["msg"], keep="\n\t")
    masked: Result = mask(result, hidden)
    return masked


def result_of(outcome: Outcome) -> Result:
    """Return an outcome as the result of a module. The diff of its parts is in its own."""
    parts = {
        name: [result_of(dataclasses.replace(part, diff=None)) for part in parts]
        for name, parts in outcome.parts.items()
    }
    common = {
        "diff": outcome.diff,
        "warnings": outcome.warnings or None,
        "failed": outcome.failed or None,
        "msg": outcome.message or None,
        "unknown": outcome.unknown,
    }
    said = {key: value for key, value in common.items() if value is not None}
    return {"changed": outcome.changed, **outcome.values, **parts, **said}


def failure(module: str, error: Exception, changed: bool) -> Result:
    """Return the result of a module that an exception ended. changed: whether it had changed something by then."""
    if isinstance(error, Invalid):
        return {
            "failed": True,
            "changed": False,
            "msg": f"{module}: {len(error.findings)} problem(s) with the options: {error}",
            "problems": [finding.as_dict() for finding in error.findings],
        }
    if isinstance(error, PlatformError):
        # What was done before stays done; a pipeline has to know that the next run starts from there.
        result = {"failed": True, "changed": changed, "msg": f"{module}: {error}"}
        return {**result, "unknown": True} if isinstance(error, Unknown) else result
    return {"failed": True, "unknown": True, "msg": f"{module}: {unexpected(error)}"}


def _each(module: str, context: Context, requests: list[tuple[str, Any]]) -> Result:
    """Act on each request of a list, also on those after one that fails, and put the results together."""
    option, kube = LISTS[module][0], context.kube
    results: list[Result] = []
    for where, request in requests:
        before = kube.changed
        kube.changed = False
        try:
            results.append(result_of(_ACTIONS[module](context, request)))
        except Exception as error:
            if isinstance(error, Invalid):
                error = Invalid([one.below(f"{where}.") for one in error.findings])
            results.append(failure(module, error, kube.changed))
        finally:
            kube.changed = kube.changed or before
    together: Result = {"changed": any(one.get("changed") for one in results), "diff": [], option: results}
    for key in ("diff", "warnings", "problems"):
        found = [value for one in results for value in one.pop(key, [])]
        if found:
            together[key] = found
    for key in ("failed", "unknown"):
        if any(one.get(key) for one in results):
            together[key] = True
    if together.get("failed"):
        together["msg"] = "\n".join(str(one["msg"]) for one in results if one.get("failed"))
    return together


def unexpected(error: Exception) -> str:
    """Return how a message tells of an exception that no code has expected: what and where.

    Its own text stays out of it, as it may repeat a secret. That of a KeyError or AttributeError is a name.
    """
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(last.filename)}:{last.lineno}, in {last.name}"
    named = f" ({shown(str(error))})" if isinstance(error, (KeyError, AttributeError)) else ""
    return (
        f"found an unexpected {type(error).__name__}{named} at {place}; this is a bug in cloudbang.platform, please "
        "report it; it is not known what was changed: run app_info"
    )


def told(warnings: list[str]) -> list[str]:
    """Return warnings as a terminal may show them, each once and not too many."""
    texts = list(dict.fromkeys(map(visible, warnings)))
    more = len(texts) - MAX_WARNINGS
    return texts if more <= 0 else [*texts[:MAX_WARNINGS], f"{more} more warnings are not shown"]


def mask(value: Any, hidden: list[str]) -> Any:
    """Return the value with every secret in its texts replaced.

    One of up to three characters is replaced only as a word of its own in a text that somebody wrote, such as a log: it
    would be found anywhere else by chance. A single character or a yes or no is what anybody would guess, and stays.
    """
    lines = {line for text in hidden for line in (text, *text.splitlines()) if len(line) > 1}
    lines = {line for line in lines if line.lower() not in TRUE + FALSE}
    long = sorted((line for line in lines if len(line) > SHORT), key=len, reverse=True)
    short = [line for line in lines if len(line) <= SHORT]
    if not lines:
        return value
    anywhere = re.compile("|".join(map(re.escape, long)) or r"(?!)")
    words = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(short))) or '(?!)'})(?!\w)")

    def masked(entry: Any, prose: bool) -> Any:
        if isinstance(entry, str):
            entry = anywhere.sub(MASK, entry)
            return words.sub(MASK, entry) if prose else entry
        if isinstance(entry, dict):
            return {
                key: inner
                if key in NAMES and isinstance(inner, str) and inner in lines
                else masked(inner, prose or key in PROSE)
                for key, inner in entry.items()
            }
        if isinstance(entry, list):
            return [masked(inner, prose) for inner in entry]
        return entry

    return masked(value, False)
