# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What `app_release` does: bring the content of an earlier release back."""

from __future__ import annotations

from typing import Any

from . import ledger
from .client import Kube
from .deploy import Failed, conflicts, deploy, load
from .ledger import LedgerError
from .options import Invalid, Problem
from .plan import plan_release

Result = dict[str, Any]


def run(kube: Kube, options: dict[str, Any], check_mode: bool) -> Result:
    """Bring the content of an earlier release back, as a new release."""
    name, tenant = options["name"], options["tenant"]
    where = f"app {tenant}/{name}"
    live = load(kube, tenant, [name])[name]
    try:
        source = ledger.target(live.releases, options["version"])
    except LedgerError as error:
        raise LedgerError(f"{where}: {error}") from error
    if live.newest is not None and live.newest.digest == source.digest:
        source = live.newest
    plan = plan_release(live, source, options["keep_releases"])
    warnings: list[str] = []
    problems = conflicts(kube, [plan], set(), warnings)
    if plan.blue_green and not options["wait"]:
        found = f"false, and v{source.version} is blue_green"
        problems.append(Problem("wait", found, "true: blue_green waits to switch"))
    if problems:
        raise Invalid(problems)
    try:
        outcome = deploy(kube, plan, options, check_mode)
    except Failed as error:
        outcome = {"failed": True, "msg": str(error), **error.details}
    diff = outcome.pop("diff")
    result: Result = {
        "changed": outcome["changed"],
        "app": {"name": name, "tenant": tenant, **outcome, "from_version": source.version},
        "diff": [diff] if diff["before"] != diff["after"] else [],
    }
    for key in ("failed", "msg", "unknown"):
        if outcome.get(key):
            result[key] = result["app"].pop(key)
    return result
