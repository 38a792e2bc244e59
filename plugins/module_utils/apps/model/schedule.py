# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the schedules of cron apps as Kubernetes will read them. Pure."""

from __future__ import annotations

import re
import zoneinfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# field, least and greatest value, names in the order of their values
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)
_WORDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_EVERY = re.compile(r"@every ([0-9]+h)?([0-9]+m)?([0-9]+s)?\Z")
FORM = (
    'five fields such as "15 3 * * mon-fri" (minute hour day month weekday), @hourly, @daily, @weekly or @every 1h30m'
)


def wrong_schedule(text: str) -> str | None:
    """Return what is wanted instead of a schedule, None when it is one."""
    if text.startswith("@"):
        duration = _EVERY.match(text)
        if text in _WORDS or (duration and any(int(part[:-1]) for part in duration.groups() if part)):
            return None
        return FORM
    fields = text.split()
    if len(fields) != len(_FIELDS):
        return FORM
    for field, (name, low, high, names) in zip(fields, _FIELDS):
        if not all(_fits(part, low, high, names) for part in field.split(",")):
            words = f" or {names[0]} to {names[-1]}" if names else ""
            return f"a {name} of {low} to {high}{words}, *, a range a-b, a step /n or a list, found {field}"
    return None


def _fits(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    base, slash, step = part.partition("/")
    if slash and not (re.match(r"[0-9]{1,4}\Z", step) and int(step)):
        return False
    if base in ("*", "?"):
        return True
    first, dash, last = base.partition("-")
    start = _value(first, low, names)
    end = _value(last, low, names) if dash else start
    return start is not None and end is not None and low <= start <= end <= high


def _value(text: str, low: int, names: tuple[str, ...]) -> int | None:
    if text.lower() in names:
        return names.index(text.lower()) + low
    return int(text) if re.match(r"[0-9]{1,4}\Z", text) else None


def wrong_time_zone(name: str) -> bool:
    """Say whether a time zone is unknown here; nothing is, on a machine without a time zone database."""
    known = zoneinfo.available_timezones()
    if not re.match(r"[A-Za-z][A-Za-z0-9_+/-]*\Z", name) or name == "Local":
        return True
    return bool(known) and name not in known
