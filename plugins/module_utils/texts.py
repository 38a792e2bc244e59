# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts from elsewhere, made fit to be shown on a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

# Characters that a terminal acts upon instead of showing them: control characters of both sets, line separators, what
# changes the direction of writing or has no width, and halves of characters that have no form in UTF-8.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def visible(text: str, keep: str = "") -> str:
    """Return a text in which control characters can be read, as in \\x1b, and do nothing; those of keep stay."""
    return _UNSEEN.sub(lambda match: match[0] if match[0] in keep else _escaped(match), text)


def shown(value: Any, secret: bool = False) -> str:
    """Return how a message shows a value: as JSON, shortened; only its type when it is a secret."""
    if value is None:
        return "nothing"
    if secret:
        return f"a {_TYPE_NAMES.get(type(value).__name__, 'value')} (not shown)"
    text = visible(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 120 else text[:117] + "..."


_TYPE_NAMES = {"str": "text", "bool": "boolean", "int": "number", "float": "number", "list": "list", "dict": "mapping"}
