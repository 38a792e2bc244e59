#!/usr/bin/env python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the molecule scenarios, a few at a time.

Each writes build/molecule/SCENARIO.log and build/molecule/SCENARIO.xml (JUnit); all of them build/molecule/junit.xml,
and build/molecule/steps.tsv with the seconds of each step.
Leftovers of an earlier run of a scenario are removed first. Names on the command line choose scenarios; the default is
all.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import count

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "molecule"
# Those that take long start first.
FIRST = ["goodnet", "nodes", "single", "kube_control_plane", "etcd", "lab", "api_loadbalancer"]
TAIL = 60
# What molecule itself remembers of a scenario, such as that its nodes were created. A killed run leaves it wrong.
EPHEMERAL = "molecule"


@dataclass
class Outcome:
    """How a scenario ended; tests and failures count its test functions."""

    name: str
    seconds: float
    passed: bool
    tests: int
    failures: int
    step: str
    log: Path
    steps: dict[str, float]


def scenarios() -> list[str]:
    found = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    return sorted(found, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def call(log: Path, *command: str, seconds: int = 1800, variables: dict[str, str] | None = None) -> int:
    """Run a command with its output in a file. Return its exit code, or 124 when it took too long."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
    environment.update(variables or {})
    with log.open("ab") as stream:
        try:
            return subprocess.run(
                command, cwd=ROOT, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
                timeout=seconds, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            stream.write(f"\nnot finished after {seconds} s: {' '.join(command)}\n".encode())
            return 124


def counts(path: Path) -> tuple[int, int]:
    """Return how many tests a JUnit file has, and how many of them failed."""
    try:
        suites = list(ET.parse(path).getroot().iter("testsuite"))
    except (OSError, ET.ParseError):
        return 0, 0
    return (
        sum(int(one.get("tests", 0)) for one in suites),
        sum(int(one.get("failures", 0)) + int(one.get("errors", 0)) for one in suites),
    )


def begun_steps(log: Path) -> list[str]:
    return re.findall(r"^INFO +\[\S+ > (\S+)\] Executing$", log.read_text(errors="replace"), re.MULTILINE)


def failed_step(log: Path) -> str:
    """Return the step that failed according to molecule, else the last one that began.

    ERROR    [etcd > converge] Executed: Failed, with a colour; INFO     [etcd > converge] Executing.
    """
    wrong = re.findall(r"^ERROR +\[\S+ > (\S+)\] ", log.read_text(errors="replace"), re.MULTILINE)
    begun = begun_steps(log)
    return str([*begun[-1:], *wrong[:1]][-1]) if begun else "start"


class Steps:
    """Follows the log of a scenario to see how long each step takes: INFO     [etcd > converge] Executing."""

    def __init__(self, log: Path) -> None:
        self.seconds: dict[str, float] = {}
        self._log, self._ended = log, threading.Event()
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self) -> dict[str, float]:
        self._thread.start()
        return self.seconds

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        step, begun = "", time.monotonic()
        while not self._ended.wait(1):
            found = begun_steps(self._log)
            now = time.monotonic()
            if found and found[-1] != step:
                step, begun = found[-1], now
            if step:
                self.seconds[step] = now - begun


def left_behind(name: str) -> bool:
    """Return whether an earlier run was killed before it removed the nodes of a scenario, or their cluster's state."""
    label = f"label=cloudbang.lab=molecule-{name.replace('_', '-')}"
    nodes = subprocess.run(["docker", "ps", "--all", "--quiet", "--filter", label], capture_output=True, check=False)
    return bool(nodes.stdout.strip()) or (BUILD / name / "state").exists()


def molecule(log: Path, command: str, name: str, *more: str, **limit: int) -> int:
    """Run a command of molecule for a scenario."""
    directory = {"MOLECULE_EPHEMERAL_DIRECTORY": str(BUILD / name / EPHEMERAL)}
    return call(log, "molecule", command, "--scenario-name", name, *more, **limit, variables=directory)


def destroy(name: str) -> None:
    molecule(BUILD / f"{name}-destroy.log", "destroy", name, seconds=180)


def run(name: str) -> Outcome:
    log, report = BUILD / f"{name}.log", BUILD / f"{name}.xml"
    log.write_bytes(b"")
    report.unlink(missing_ok=True)
    started = time.monotonic()
    if left_behind(name):
        destroy(name)
    shutil.rmtree(BUILD / name / EPHEMERAL, ignore_errors=True)
    with Steps(log) as steps:
        code = molecule(log, "test", name, "--destroy", "always")
    if code:
        # A scenario that was stopped half way has not removed its nodes.
        destroy(name)
    tests, failures = counts(report)
    step = failed_step(log) if code else ""
    return Outcome(name, time.monotonic() - started, code == 0, tests, failures, step, log, steps)


def write_junit(outcomes: Sequence[Outcome]) -> None:
    """Write the scenarios as test cases of one suite."""
    suite = ET.Element(
        "testsuite",
        name="molecule",
        tests=str(len(outcomes)),
        failures=str(sum(not one.passed for one in outcomes)),
        errors="0",
        skipped="0",
        time=f"{sum(one.seconds for one in outcomes):.1f}",
    )
    for one in outcomes:
        case = ET.SubElement(suite, "testcase", classname="molecule", name=one.name, time=f"{one.seconds:.1f}")
        if not one.passed:
            report = BUILD / f"{one.name}.xml"
            found = "; ".join(count.failed(report)) if report.exists() else ""
            ET.SubElement(case, "failure", message=f"failed at {one.step}: {found}").text = str(one.log)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.ElementTree(root).write(BUILD / "junit.xml", encoding="utf-8", xml_declaration=True)


def write_steps(outcomes: Sequence[Outcome]) -> None:
    """Write a line for each step of each scenario: their names and its seconds."""
    lines = [f"{one.name}\t{step}\t{seconds:.0f}\n" for one in outcomes for step, seconds in one.steps.items()]
    (BUILD / "steps.tsv").write_text("".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="all of them when none is named")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time, 2 by default")
    arguments = parser.parse_args()
    known = scenarios()
    if unknown := sorted(set(arguments.scenarios) - set(known)):
        parser.error(f"no such scenario: {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    wanted = [name for name in known if not arguments.scenarios or name in arguments.scenarios]
    BUILD.mkdir(parents=True, exist_ok=True)

    # One engine for all, so that no scenario stops what another one uses.
    engine = BUILD / "engine.log"
    engine.write_bytes(b"")
    if call(engine, "ansible-playbook", "molecule/shared/engine_up.yml", seconds=600):
        print(f"molecule: the container engine does not start: see {engine}", flush=True)
        return 1
    started = time.monotonic()
    outcomes: list[Outcome] = []
    try:
        with ThreadPoolExecutor(max_workers=max(1, arguments.jobs)) as pool:
            for done in as_completed([pool.submit(run, name) for name in wanted]):
                one = done.result()
                outcomes.append(one)
                state = "passed" if one.passed else f"FAILED at {one.step}"
                print(
                    f"molecule: {one.name:<20} {state} in {one.seconds:.0f} s, {one.tests} tests"
                    + (f", {one.failures} failed" if one.failures else ""),
                    flush=True,
                )
                if not one.passed:
                    print("\n".join(one.log.read_text(errors="replace").splitlines()[-TAIL:]), flush=True)
    finally:
        call(engine, "ansible-playbook", "molecule/shared/engine_down.yml", seconds=120)
    write_junit(outcomes)
    write_steps(outcomes)
    failed = sum(not one.passed for one in outcomes)
    tests = sum(one.tests for one in outcomes)
    seconds = time.monotonic() - started
    print(f"molecule: {len(outcomes) - failed} passed, {failed} failed ({tests} tests in {seconds:.0f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
