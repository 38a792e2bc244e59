#!/usr/bin/env python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the software that Cloudbang installs, and its own environment, for known vulnerabilities.

Usage: PYTHONPATH=build/collections audit.py [--data DATA] [--lock LOCK] [--day DAY] [--at-hand]

Go: each program in the artifact cache with govulncheck, and the module that it is built from by its version. A
vulnerability counts if one of its functions is linked into the program, or if its functions are unknown.
Python: requirements.lock and the packages in the catalogue, by their versions.

The data are those that tests/audit-sources.yml pins, so the same commit always gives the same answer. They are kept in
audit/ of the artifact cache, which can be carried to a machine without internet.

Exit status: 0 nothing found, 1 a fault without exception or an exception that has ended, 2 not checked.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import gobuild, resolve
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.catalogue import (
    DEFAULT_CATALOGUE,
    Catalogue,
    Component,
)
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.store import Store

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "tests" / "audit-sources.yml"
EXCEPTIONS = ROOT / "tests" / "audit-exceptions.yml"
PYTHON_DATA = ROOT / "tests" / "audit-python.json"
REQUIREMENTS = ROOT / "requirements.lock"
GO_KINDS = ("go-wrapper", "go-module")
MODULE_LEVEL = "by version only"
# The linker's table of functions stays in a stripped program: magic of Go 1.20 and newer, two zero bytes.
PCLNTAB = b"\xf1\xff\xff\xff\x00\x00"
# What Go writes before a program's list of modules.
MODULES = re.escape(bytes.fromhex("3077af0c9274080241e1c107e6d618e6"))
Record = Mapping[str, Any]


class NotChecked(Exception):
    """The audit cannot run; the message has the reason and the next step."""


@dataclass(frozen=True)
class Fault:
    """A known fault of a component. where: the module or package that has it; reach: how much of it is used."""

    component: str
    version: str
    fault: str
    aliases: tuple[str, ...]
    where: str
    fixed: str
    reach: str

    @property
    def names(self) -> set[str]:
        return {self.fault, *self.aliases}


@dataclass(frozen=True)
class Exemption:
    """A fault that is known and accepted until a day."""

    component: str
    fault: str
    why: str
    until: datetime.date


def build_index(records: Sequence[Record], directory: Path, modified: str) -> None:
    """Write OSV records as the database that govulncheck reads."""
    modules: dict[str, dict[str, dict[str, str]]] = {}
    (directory / "ID").mkdir(parents=True)
    (directory / "index").mkdir()
    for record in records:
        if not re.fullmatch(r"[A-Za-z0-9-]+", record["id"]):
            raise NotChecked(f"a record of the data calls itself {record['id']!r}; wanted a name such as GO-2026-1234")
        (directory / "ID" / f"{record['id']}.json").write_text(json.dumps(record))
        for affected in record.get("affected", []):
            entry = {"id": record["id"], "modified": record["modified"]}
            modules.setdefault(affected["package"]["name"], {})[record["id"]] = entry
    index = [{"path": path, "vulns": list(vulns.values())} for path, vulns in sorted(modules.items())]
    (directory / "index" / "db.json").write_text(json.dumps({"modified": modified}))
    (directory / "index" / "modules.json").write_text(json.dumps(index))


def module_day(version: str) -> datetime.date:
    """Return the day of a pseudo-version: v0.0.0-20261105234957-e22db6528018."""
    found = re.search(r"-(\d{4})(\d{2})(\d{2})\d{6}-[0-9a-f]{12}$", version)
    if not found:
        raise NotChecked(f"the data module has version {version}; wanted a pseudo-version, which has a date")
    year, month, day = (int(part) for part in found.groups())
    return datetime.date(year, month, day)


def read_records(place: Path) -> list[Record]:
    """Read OSV records from a zip of JSON files, or from a directory of JSON or YAML files, or from one JSON file."""
    if place.is_dir():
        files = [path for path in sorted(place.rglob("*")) if path.suffix in (".json", ".yaml")]
        return [(json.loads if path.suffix == ".json" else yaml.safe_load)(path.read_bytes()) for path in files]
    if zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            return [json.loads(archive.read(name)) for name in sorted(archive.namelist()) if name.endswith(".json")]
    records: list[Record] = json.loads(place.read_text())["records"]
    return records


class Data:
    """The data to check with: a directory with govulncheck, go/ (its database) and python.zip or python/.

    Without records for Python in it, those of the repository serve.
    """

    def __init__(self, directory: Path) -> None:
        self.scanner = directory / "govulncheck"
        self.go = directory / "go"
        self.python = next(
            (path for path in (directory / "python.zip", directory / "python") if path.exists()), PYTHON_DATA
        )

    @property
    def missing(self) -> list[str]:
        return [str(path) for path in (self.scanner, self.go / "index" / "modules.json") if not path.exists()]

    def go_day(self) -> datetime.date:
        return day_of(json.loads((self.go / "index" / "db.json").read_text())["modified"])


def machine() -> str:
    return resolve.ARCHITECTURES[os.uname().machine]


def day_of(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text[:10])


def python_day(records: Iterable[Record]) -> datetime.date:
    """Return when the youngest record was changed."""
    return max((day_of(str(record["modified"])) for record in records), default=datetime.date.min)


def data_directory(cache: Path, choice: str, sources: Mapping[str, Any]) -> Path:
    """Return where the pinned data, the newest or those of a given directory are."""
    if choice == "newest":
        return cache / "audit" / "newest"
    if choice:
        return Path(choice).expanduser()
    return cache / "audit" / "{}-{}".format(sources["data"]["version"], sources["scanner"]["version"])


def go_module(go: gobuild.Go, path: str, version: str, wanted: str, directory: Path) -> dict[str, Any]:
    """Fetch a Go module; its checksum must be the pinned one."""
    done = go.output(["mod", "download", "-json", f"{path}@{version}"], str(directory))
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        answer = {}
    if "Dir" not in answer:
        raise NotChecked(
            f"no {path}@{version} from the Go module proxy: {answer.get('Error') or done.stderr.strip()}\n"
            "Set DATA to a directory that was made where there is one."
        )
    if wanted and answer["Sum"] != wanted:
        raise NotChecked(
            f"{path}@{version} has checksum {answer['Sum']}, wanted {wanted}: the proxy serves other files"
        )
    return answer


def prepare(directory: Path, sources: Mapping[str, Any], newest: bool, cache: Path) -> None:
    """Fetch the data and build govulncheck. The directory is there when all of it is."""
    toolchain = Catalogue(DEFAULT_CATALOGUE, {}, "amd64").toolchain
    store = Store(str(cache))
    go = gobuild.find_go(store, toolchain, machine(), print)
    with store.lock("audit", "the audit's data"), store.work("audit") as work:
        made = Path(work) / "made"
        source = Path(work) / "source"
        made.mkdir()
        source.mkdir()
        print("audit: getting the data", flush=True)
        data, scanner = sources["data"], sources["scanner"]
        version, wanted = ("latest", "") if newest else (data["version"], data["sum"])
        answer = go_module(go, data["module"], version, wanted, source)
        modified = module_day(answer["Version"]).isoformat() + "T00:00:00Z"
        build_index(read_records(Path(answer["Dir"], data["records"])), made / "go", modified)
        build_scanner(go, scanner, source, made)
        if newest:
            print(f"audit: getting {sources['python']['url']}", flush=True)
            address = urllib.request.urlopen(sources["python"]["url"], timeout=60)
            with address as stream, (made / "python.zip").open("wb") as file:
                shutil.copyfileobj(stream, file)
        if directory.exists():
            shutil.rmtree(directory)
        directory.parent.mkdir(parents=True, exist_ok=True)
        os.rename(made, directory)


def build_scanner(go: gobuild.Go, scanner: Mapping[str, str], source: Path, made: Path) -> None:
    """Build govulncheck inside its own module, so that its go.sum covers what it is made of."""
    answer = go_module(go, scanner["module"], scanner["version"], scanner["sum"], source)
    command = [go.binary, "build", "-mod=mod", f"-modfile={source}/go.mod", "-trimpath", "-o", f"{made}/govulncheck"]
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(Path(answer["Dir"], name), source / name)
    print("audit: building govulncheck", flush=True)
    command.append("./cmd/govulncheck")
    done = subprocess.run(command, cwd=answer["Dir"], env=go.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotChecked(f"govulncheck does not build:\n{done.stderr[-2000:]}")


def functions(program: bytes) -> set[str]:
    """Return the functions that are linked into a Go program, inlined ones too: path/pkg.Type.Method."""
    at = program.find(PCLNTAB)
    while at >= 0:
        if len(program) >= at + 48 and program[at + 7] in (4, 8):
            word = "<5Q" if program[at + 7] == 8 else "<5I"
            names, after = struct.unpack_from(word, program, at + 8)[3:]
            if 0 < names < after <= len(program) - at:
                found = program[at + names : at + after].decode("utf-8", "replace").split("\0")
                # Every Go program has this one: without it, these bytes only look like the table.
                if "runtime.main" in found:
                    return {plain(name) for name in found}
        at = program.find(PCLNTAB, at + 1)
    return set()


def plain(name: str) -> str:
    """Return a function's name as the database writes it, of a closure the name of the function that it is in."""
    name = re.sub(r"\[.*\]", "", name)
    name = re.sub(r"\(\*?([^)]*)\)", r"\1", name)
    name = re.sub(r"%([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), name)
    return re.sub(r"(\.(func|gowrap|deferwrap)\d+.*|-fm|-range\d+)$", "", name)


def reach(affected: Iterable[Record], linked: Collection[str], main: str) -> str | None:
    """Return which function of a fault is linked, MODULE_LEVEL when that cannot be known, None when none is."""
    packages = [item for one in affected for item in one.get("ecosystem_specific", {}).get("imports", [])]
    if not packages or not linked:
        return MODULE_LEVEL
    for package in packages:
        if package.get("goos") and "linux" not in package["goos"]:
            continue
        prefix = "main." if package["path"] == main else package["path"] + "."
        for symbol in package.get("symbols", []):
            if prefix + symbol in linked:
                return f"{package['path']}.{symbol}"
        if not package.get("symbols") and any(is_in(name, prefix) for name in linked):
            return str(package["path"])
    return None


def is_in(name: str, prefix: str) -> bool:
    """Return whether a function belongs to the package itself, not to one below it."""
    return name.startswith(prefix) and "/" not in name[len(prefix) :]


def messages(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON values that govulncheck writes one after another."""
    decoder = json.JSONDecoder()
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        value, at = decoder.raw_decode(text, at)
        yield value


def semver(text: str) -> tuple[Any, ...]:
    """Return a key that orders semantic versions; identifiers of a pre-release sort before none."""
    core, _dash, pre = text.removeprefix("v").split("+")[0].partition("-")
    numbers = [int(part) for part in core.split(".")]
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")) if pre else ()
    return (*numbers, *[0] * (3 - len(numbers)), not pre, parts)


def covered(events: Iterable[Record], key: Any, version: Any) -> bool:
    """Return whether a version lies in a range of OSV events; `key` orders versions."""
    inside = False
    for event in events:
        if "introduced" in event:
            if event["introduced"] == "0" or key(event["introduced"]) <= version:
                inside = True
        elif "fixed" in event:
            if key(event["fixed"]) <= version:
                inside = False
        elif "last_affected" in event and key(event["last_affected"]) < version:
            inside = False
    return inside


def fixed_in(events: Iterable[Record]) -> str:
    events = list(events)
    return str(events[-1]["fixed"]) if events and "fixed" in events[-1] else ""


def modules_of(component: Component) -> list[str]:
    """Return the Go modules that a component is built from, none when it is not."""
    build = component.build or {}
    if build.get("kind") not in GO_KINDS:
        return []
    return list(build.get("modules") or [build["module"]])


def of_source(
    component: Component,
    records: Mapping[str, Record],
    paths: Mapping[str, list[str]],
    programs: Sequence[tuple[Collection[str], str]],
) -> list[Fault]:
    """Return the faults of the modules that a component is built from.

    govulncheck cannot know the version of one that is built in its own directory. programs: functions and main package
    of those that are in the cache.
    """
    build = component.build or {}
    sources = {path: [component.version] for path in modules_of(component)}
    if component.version in build.get("module_versions", {}):
        # A module without tags: the database knows some faults by the tag and some by the commit.
        sources[build["module"]] = [component.version, build["module_versions"][component.version]]
    found = []
    for path, versions in sources.items():
        for record in (records[name] for name in paths.get(path, [])):
            affected = [one for one in record["affected"] if one["package"]["name"] == path]
            ranges = [item["events"] for one in affected for item in one.get("ranges", [])]
            hit = [events for events in ranges if any(covered(events, semver, semver(one)) for one in versions)]
            used = [reach(affected, *program) for program in programs] or [MODULE_LEVEL]
            known = [one for one in used if one]
            if hit and known and not record.get("withdrawn"):
                found.append(fault_of(record, component.name, component.version, path, fixed_in(hit[0]), known[0]))
    return found


def fault_of(record: Record, component: str, version: str, where: str, fixed: str, used: str) -> Fault:
    aliases = tuple(record.get("aliases", []))
    return Fault(component, version, record["id"], aliases, where, fixed.removeprefix("v"), used)


def of_scan(output: str, component: str, version: str, linked: Collection[str], main: str) -> tuple[list[Fault], int]:
    """Return the faults that govulncheck found in a program, and how many others are of code that is not linked."""
    records: dict[str, Record] = {}
    found = []
    unused = 0
    for message in messages(output):
        if "osv" in message:
            records[message["osv"]["id"]] = message["osv"]
        elif "finding" in message:
            finding = message["finding"]
            frame = finding["trace"][0]
            record = records[finding["osv"]]
            if record.get("withdrawn"):
                continue
            affected = [one for one in record["affected"] if one["package"]["name"] == frame["module"]]
            used = reach(affected, linked, main)
            if used is None:
                unused += 1
                continue
            fixed = finding.get("fixed_version", "")
            if frame["module"] == "stdlib":
                found.append(fault_of(record, "go", frame["version"].removeprefix("v"), "stdlib", fixed, used))
            else:
                where = f"{frame['module']}@{frame.get('version', '')}"
                found.append(fault_of(record, component, version, where, fixed, used))
    return found, unused


def main_package(program: bytes) -> str:
    """Return the package of a Go program's main function, from the list of modules in the program."""
    found = re.search(MODULES + rb"path\t([\x21-\x7e]+)\n", program)
    return found[1].decode() if found else ""


def scan(data: Data, path: str) -> str:
    """Return govulncheck's result for a program: the modules with faults in their versions."""
    options = ["-mode=binary", "-scan=module", "-format=json", f"-db={data.go.resolve().as_uri()}"]
    done = subprocess.run([str(data.scanner), *options, path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotChecked(f"govulncheck fails for {path}: {done.stderr.strip()}")
    return done.stdout


def requirements(text: str) -> list[tuple[str, str]]:
    """Return names and versions of a locked requirements file."""
    return sorted(set(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, re.M)))


def site_versions(text: str, where: str) -> list[tuple[str, str]]:
    """Return components and versions that a site's lock file of artifacts has records of."""
    content = yaml.safe_load(text)
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise NotChecked(f"{where} has no mapping `files`; wanted a lock file that artifacts_lock_file names")
    return sorted({(parts[0], parts[1]) for parts in (key.split("/") for key in content["files"]) if len(parts) == 4})


def catalogue_pins(component: Component) -> list[tuple[str, str]]:
    """Return the Python packages that a component of the catalogue is made of."""
    build = component.build or {}
    pins = [name for part in ("build_tools", "sdists", "wheels") for name in build.get(part, {})]
    return [(name, version) for name, _equal, version in (pin.partition("==") for pin in pins)]


def of_python(pins: Iterable[tuple[str, str]], records: Iterable[Record], component: str) -> list[Fault]:
    """Return the faults of Python packages by OSV records."""
    wanted: dict[str, list[str]] = {}
    for name, version in pins:
        wanted.setdefault(canonicalize_name(name), []).append(version)
    found = []
    for record in records:
        if record.get("withdrawn"):
            continue
        for affected in record.get("affected", []):
            package = affected["package"]
            name = canonicalize_name(package["name"])
            if package.get("ecosystem", "PyPI") != "PyPI":
                continue
            for version in wanted.get(name, []):
                hit = python_hit(affected, version)
                if hit is not None:
                    found.append(fault_of(record, component, version, f"{name}=={version}", hit, MODULE_LEVEL))
    return found


def python_hit(affected: Record, version: str) -> str | None:
    """Return the version in which a fault is fixed ("" when in none), or None when this version does not have it."""
    for item in affected.get("ranges", []):
        if item["type"] == "ECOSYSTEM" and covered(item["events"], python_version, python_version(version)):
            return fixed_in(item["events"])
    return "" if version in affected.get("versions", []) else None


def python_version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        # As old as it gets: such versions were before PEP 440.
        return Version("0")


def exemptions(text: str, where: str) -> list[Exemption]:
    """Read the exceptions; each has a component, its faults, a reason and the day that it ends."""
    result = []
    for number, entry in enumerate(yaml.safe_load(text) or [], 1):
        good = isinstance(entry, dict) and set(entry) == {"component", "faults", "why", "until"} and all(entry.values())
        if not good or not isinstance(entry["faults"], list):
            raise NotChecked(
                f"{where}: exception {number} is {entry!r}; wanted component, faults (a list), why and until"
            )
        if not isinstance(entry["until"], datetime.date) or isinstance(entry["until"], datetime.datetime):
            raise NotChecked(f"{where}: exception {number} ends {entry['until']!r}; wanted a day, as 2027-01-31")
        result += [Exemption(entry["component"], name, entry["why"], entry["until"]) for name in entry["faults"]]
    return result


def judge(
    faults: Iterable[Fault], exceptions: Sequence[Exemption], day: datetime.date
) -> tuple[list[tuple[Fault, str]], bool]:
    """Return each fault with its exception, and whether the audit passes."""
    rows = []
    good = True
    for fault in faults:
        matching = [one for one in exceptions if one.component == fault.component and one.fault in fault.names]
        running = [one for one in matching if one.until >= day]
        if running:
            rows.append((fault, f"until {running[0].until}: {running[0].why}"))
            continue
        good = False
        rows.append((fault, f"EXCEPTION ENDED {matching[0].until}" if matching else "FAULT"))
    return rows, good


def merged(faults: Iterable[Fault]) -> list[Fault]:
    """Return one fault for each component and name; what is known of its functions goes before its version alone."""
    result: dict[tuple[str, str, str], Fault] = {}
    for fault in faults:
        key = (fault.component, fault.version, fault.fault)
        if key not in result or result[key].reach == MODULE_LEVEL:
            result[key] = fault
    return [result[key] for key in sorted(result)]


def table(rows: Iterable[tuple[Fault, str]]) -> str:
    lines: list[tuple[str, ...]] = [("component", "version", "fault", "fixed in", "where", "reached", "")]
    for fault, word in rows:
        cve = next((name for name in fault.aliases if name.startswith("CVE-")), "")
        name = f"{fault.fault} {cve}".rstrip()
        line = (fault.component, fault.version, name, fault.fixed or "none", fault.where, fault.reach, word)
        # The data are other people's words: none of them steers the terminal.
        lines.append(tuple("".join(char if char.isprintable() else "?" for char in text) for text in line))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    form = "  ".join(f"{{:<{width}}}" for width in widths) + "  {}"
    return "\n".join(form.format(*line).rstrip() for line in lines)


def audit(data: Data, cache: Path, site: Sequence[tuple[str, str]] = ()) -> tuple[list[Fault], list[str]]:
    """Return all faults, and remarks on what was looked at. site: components in other versions than the catalogue's."""
    arch = machine()
    catalogue = Catalogue(DEFAULT_CATALOGUE, {}, arch)
    settings = resolve.Settings(cache_dir=str(cache), arch=arch)
    index = json.loads((data.go / "index" / "modules.json").read_text())
    paths = {entry["path"]: [one["id"] for one in entry["vulns"]] for entry in index}
    components = [catalogue.component(name) for name in catalogue.owners(catalogue.names)]
    python = read_records(data.python)
    found = of_python(requirements(REQUIREMENTS.read_text()), python, "requirements.lock")
    cached: list[str] = []
    missing: list[str] = []
    unused = 0
    for component in components:
        found += of_python(catalogue_pins(component), python, component.name)
        modules = modules_of(component)
        if not modules:
            continue
        here = [name for name, planned in resolve.plan(list(component.files), settings).items() if planned.cached]
        cached += here
        missing += [name for name in component.files if name not in here]
        programs = []
        for artifact in resolve.ensure(here, settings).values():
            content = Path(artifact.path).read_bytes()
            program = (functions(content), main_package(content))
            programs.append(program)
            faults, rest = of_scan(scan(data, artifact.path), component.name, component.version, *program)
            found += faults
            unused += rest
        names = {name for path in modules for name in paths.get(path, [])}
        records = {name: json.loads((data.go / "ID" / f"{name}.json").read_text()) for name in names}
        found += of_source(component, records, paths, programs)
        for version in [version for name, version in site if name == component.name and version != component.version]:
            other = Catalogue(DEFAULT_CATALOGUE, {component.name: version}, arch).component(component.name)
            found += of_source(other, records, paths, [])
    today = datetime.date.today()
    remarks = [
        f"Go: data of {data.go_day()}, {(today - data.go_day()).days} days old; {len(cached)} programs looked into; "
        f"{unused} more faults are in code that is not linked into them.",
        f"Python: data of {python_day(python)}, {(today - python_day(python)).days} days old; {len(python)} records.",
    ]
    if missing:
        remarks.append(f"Not in the cache, so only their own version is checked: {', '.join(missing)}.")
    return merged(found), remarks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", default="", help="a directory with data, or newest; the pinned data when empty")
    parser.add_argument("--cache", default="~/.cache/cloudbang", help="the artifact cache")
    parser.add_argument("--lock", default="", help="a site's artifacts_lock_file, whose versions are looked up as well")
    parser.add_argument("--day", default="", help="exceptions that end before this day have ended; today when empty")
    parser.add_argument("--at-hand", action="store_true", help="only say, by the exit status, whether data are at hand")
    arguments = parser.parse_args()
    cache = Path(arguments.cache).expanduser()
    try:
        sources = yaml.safe_load(SOURCES.read_text())
        exceptions = exemptions(EXCEPTIONS.read_text(), EXCEPTIONS.name)
        day = datetime.date.fromisoformat(arguments.day) if arguments.day else datetime.date.today()
        directory = data_directory(cache, arguments.data, sources)
        data = Data(directory)
        if arguments.at_hand and data.missing:
            raise NotChecked(f"no data at hand: no {data.missing[0]}; `make audit` gets them")
        if arguments.at_hand:
            return 0
        if arguments.data == "newest" or (data.missing and not arguments.data):
            prepare(directory, sources, arguments.data == "newest", cache)
            data = Data(directory)
        if data.missing:
            raise NotChecked(f"no {', '.join(data.missing)}; wanted a copy of a directory below audit/ of a cache")
        lock = Path(arguments.lock).expanduser()
        faults, remarks = audit(data, cache, site_versions(lock.read_text(), str(lock)) if arguments.lock else [])
    except (NotChecked, ArtifactError, OSError, ValueError, KeyError, yaml.YAMLError) as error:
        print(f"audit: not checked: {error}", file=sys.stderr)
        return 2
    rows, good = judge(faults, exceptions, day)
    if rows:
        print(table(rows))
    print("\n".join(remarks))
    for one in exceptions:
        if not any(one.component == fault.component and one.fault in fault.names for fault in faults):
            print(f"The exception for {one.fault} of {one.component} is not needed.")
    open_ones = sum(not word.startswith("until ") for _fault, word in rows)
    print(f"audit: {len(rows)} faults, {len(rows) - open_ones} with an exception, {open_ones} without")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
