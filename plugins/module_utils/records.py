# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the records of this collection in the cluster: releases, stacks, templates, annotations. Pure.

Anybody with write access to Secrets of a tenant can write any content into such a record. So each is decoded within
limits and checked against a schema before it is used. A schema consists of functions that take a value and its place,
and return an error, or "".
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .texts import shown, visible

# The API takes Secrets of a little more than 1 MiB; what is packed in one may be larger.
MAX_BYTES = 2 << 20
MAX_UNPACKED = 16 << 20
MAX_VALUES = 200_000
MAX_DEPTH = 40
MAX_TEXT = 1_000_000

# Returns the error of a value at a place, or "".
Schema = Callable[[Any, str], str]
Warn = Callable[[str], None]
Found = TypeVar("Found")


class Wrong(ValueError):
    """A record is not what this collection writes."""


def ignored(message: str) -> None:
    """Drop a warning."""


def read(kind: str, entry: Any, convert: Callable[[Any], Found], warn: Warn = ignored) -> Found | None:
    """Return the record in an object, or None with a warning that names the object if it is unusable."""
    try:
        return convert(entry)
    except Wrong as error:
        warn(f"{kind} {place_of(entry)}: {error}; it is not used")
        return None


def place_of(entry: Any) -> str:
    """Return namespace and name of an object, as messages name it."""
    meta = metadata_of(entry)
    names = (meta[key] if isinstance(meta.get(key), str) else "?" for key in ("namespace", "name"))
    return "/".join(visible(name[:253]) for name in names)


def metadata_of(entry: Any) -> dict[str, Any]:
    return part(entry, "metadata")


def part(entry: Any, key: str) -> dict[str, Any]:
    """Return a mapping in an object, an empty one where there is none."""
    found = entry.get(key) if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else {}


def data_of(secret: Any, key: str) -> bytes:
    """Return the bytes under a key of a Secret."""
    text = part(secret, "data").get(key)
    if not isinstance(text, str):
        raise Wrong(f"data.{key}: found {shown(text)}, wanted base64")
    if len(text) > 2 * MAX_BYTES:
        raise Wrong(f"data.{key}: found {len(text)} characters, wanted at most {2 * MAX_BYTES}")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Wrong(f"data.{key}: found no base64") from error


def unpacked(data: bytes, limit: int = MAX_UNPACKED) -> bytes:
    """Return the content of a gzip stream, at most limit bytes."""
    stream = zlib.decompressobj(wbits=31)
    try:
        found = stream.decompress(data, limit)
        # Whether the end is reached shows only when more is asked for.
        more = stream.decompress(stream.unconsumed_tail, 1) if not stream.eof else b""
    except zlib.error as error:
        raise Wrong("found no gzip stream") from error
    if more:
        raise Wrong(f"found more than {limit} bytes when unpacked, wanted at most that")
    if not stream.eof:
        raise Wrong("found a gzip stream that breaks off")
    return found


def parsed(text: bytes | str, limit: int = MAX_UNPACKED) -> Any:
    """Return the value of a JSON text, which must have bounds in size, number of values and depth."""
    if len(text) > limit:
        raise Wrong(f"found {len(text)} bytes of JSON, wanted at most {limit}")
    try:
        value = json.loads(text, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise Wrong("found no JSON, or JSON that is nested too deep") from error
    return bounded(value)


def bounded(value: Found) -> Found:
    """Return a value of JSON types, which must have bounds in number of values and depth, also if parts are shared."""
    left = MAX_VALUES - 1
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        entry, depth = stack.pop()
        inner = list(entry.values()) if isinstance(entry, dict) else entry if isinstance(entry, list) else []
        left -= len(inner)
        if left < 0:
            raise Wrong(f"found more than {MAX_VALUES} values")
        if depth >= MAX_DEPTH:
            raise Wrong(f"found more than {MAX_DEPTH} levels")
        stack += [(one, depth + 1) for one in inner]
    return value


def _constant(name: str) -> Any:
    raise ValueError(name)


def checked(value: Any, schema: Schema, where: str = "") -> Any:
    """Return a value that a schema accepts. Raises Wrong with the place otherwise."""
    said = schema(value, where)
    if said:
        raise Wrong(said)
    return value


def _wrong(place: str, found: Any, wanted: str) -> str:
    return f"{place or 'record'}: found {shown(found)}, wanted {wanted}"


def text(longest: int = MAX_TEXT, pattern: re.Pattern[str] | None = None, wanted: str = "") -> Schema:
    """Accept texts of at most so many characters that match a pattern as a whole and have a form in UTF-8."""

    def check(value: Any, place: str) -> str:
        if not isinstance(value, str):
            return _wrong(place, value, "text")
        if len(value) > longest:
            return _wrong(place, value, f"at most {longest} characters")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return _wrong(place, value, "UTF-8 text")
        if pattern is not None and not pattern.match(value):
            return _wrong(place, value, wanted or "another text")
        return ""

    return check


def number(low: int, high: int) -> Schema:
    """Accept whole numbers between two."""

    def check(value: Any, place: str) -> str:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return "" if whole and low <= value <= high else _wrong(place, value, f"a whole number in {low} to {high}")

    return check


def flag(value: Any, place: str) -> str:
    """Accept true and false."""
    return "" if isinstance(value, bool) else _wrong(place, value, "true or false")


def anything(value: Any, place: str) -> str:
    """Accept any value of JSON."""
    return ""


def choice(*values: str) -> Schema:
    """Accept some texts."""

    def check(value: Any, place: str) -> str:
        known = isinstance(value, str) and value in values
        return "" if known else _wrong(place, value, "one of " + ", ".join(values))

    return check


def maybe(schema: Schema) -> Schema:
    """Accept None, or what a schema accepts."""
    return lambda value, place: "" if value is None else schema(value, place)


def sequence(schema: Schema, most: int = 10_000, least: int = 0) -> Schema:
    """Accept lists whose entries a schema accepts."""

    def check(value: Any, place: str) -> str:
        if not isinstance(value, list):
            return _wrong(place, value, "a list")
        if not least <= len(value) <= most:
            return f"{place}: found {len(value)} entries, wanted {least} to {most}"
        for count, entry in enumerate(value):
            said = schema(entry, f"{place}[{count}]")
            if said:
                return said
        return ""

    return check


def mapping(schema: Schema, key: Schema | None = None, most: int = 10_000) -> Schema:
    """Accept mappings whose keys and values schemas accept."""

    def check(value: Any, place: str) -> str:
        if not isinstance(value, dict):
            return _wrong(place, value, "a mapping")
        if len(value) > most:
            return f"{place}: found {len(value)} entries, wanted at most {most}"
        for name, entry in value.items():
            said = (key(name, f"{place}: a key") if key is not None else "") or schema(entry, f"{place}.{name[:60]}")
            if said:
                return said
        return ""

    return check


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Accept mappings with these keys. Others are allowed: a later version of this collection may have written them."""

    def check(value: Any, place: str) -> str:
        if not isinstance(value, dict):
            return _wrong(place, value, "a mapping")
        prefix = f"{place}." if place else ""
        for name, schema in required.items():
            if name not in value:
                return f"{prefix}{name}: found nothing, wanted it"
            said = schema(value[name], prefix + name)
            if said:
                return said
        for name, schema in (optional or {}).items():
            said = schema(value[name], prefix + name) if name in value else ""
            if said:
                return said
        return ""

    return check


def also(first: Schema, *more: Schema) -> Schema:
    """Accept values that all schemas accept, checked in order."""

    def check(value: Any, place: str) -> str:
        return next((said for schema in (first, *more) for said in [schema(value, place)] if said), "")

    return check
