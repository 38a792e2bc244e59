#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the platform on the lab, compare the figures with the previous run, and write docs/benchmarks.md.

Usage: PYTHONPATH=tests:build/collections bench.py [--keep] [--networks]

The lab is recreated, so everything that runs on it is lost. Nothing is asserted: these are reports. Figures that are
more than 10 % worse are marked in the document and printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import ansible_runner
import yaml
from compare import marked
from e2e.lab import DEMO_DOMAIN, VIP, Lab, traffic
from network import carried, scale

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "inventories" / "lab"
EXTRA_NODE = ROOT / "tests" / "bench" / "compute3.yml"
KUBECONFIG = ROOT / "build" / "lab" / "admin.conf"
READ = "/api/v1/namespaces/kube-system"
CONNECTIONS = 16
LOAD_SECONDS = 30
OBJECTS = 20
MANY = 200
# Figures that take an hour to measure are written by hand below this line of the document, and are kept.
BY_HAND = "## Whole commands\n"
NETWORKS = "## Networks\n"


@dataclass
class Run:
    """One run of a playbook: its wall time in seconds, and the times of its tasks."""

    seconds: float = 0.0
    status: int = 0
    changed: int = 0
    executions: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    tasks: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    roles: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    plays: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def play(playbook: str | Path, inventories: list[Path], environment: dict[str, str], *arguments: str) -> Run:
    """Run a playbook with ansible-runner and add up the times in its events."""
    result = Run()
    current: dict[str, Any] = {}

    def close(now: float) -> None:
        if current:
            seconds = now - current["begin"]
            result.tasks[current["task"]] += seconds
            result.roles[current["role"]] += seconds
            result.plays[current["play"]] += seconds
            current.clear()

    def listen(event: dict[str, Any]) -> bool:
        data = event.get("event_data", {})
        now = time.monotonic()
        if event["event"] == "playbook_on_task_start":
            close(now)
            role = data.get("role") or "playbook"
            current.update(begin=now, task=data.get("task", ""), role=role, play=data.get("play", ""))
        elif event["event"] in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
            result.executions[data["host"]] += 1
            result.changed += bool(data.get("res", {}).get("changed"))
        elif event["event"] in ("playbook_on_play_start", "playbook_on_stats"):
            close(now)
        return False

    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        done = ansible_runner.run(
            private_data_dir=directory,
            project_dir=str(ROOT),
            playbook=str(playbook),
            inventory=[str(one) for one in inventories],
            envvars={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **environment},
            cmdline=" ".join(arguments) or None,
            event_handler=listen,
            quiet=True,
            rotate_artifacts=1,
        )
        result.status = done.rc
        if done.rc:
            print(done.stdout.read()[-4000:], file=sys.stderr)
    result.seconds = time.monotonic() - begin
    if result.status:
        raise SystemExit(f"bench: {playbook} ended with {result.status}; the end of its output is above")
    say(f"{playbook} {' '.join(arguments)}: {seconds(result.seconds)}, {result.changed} changed")
    return result


def reference() -> str:
    """Return how long work takes that never changes: a busy host makes virtual machines slow, and all figures worse."""
    times = []
    for _round in range(3):
        begin = time.monotonic()
        sum(range(10_000_000), start=0.5)
        times.append(time.monotonic() - begin)
    return f"{statistics.median(times):.2f} s"


def say(text: str) -> None:
    print(f"bench: {text}", flush=True)


def table(header: list[str], rows: list[list[Any]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def seconds(value: float) -> str:
    return f"{value:.1f} s"


def lab_memory() -> float:
    """Return the memory that the lab's processes use, in GiB (anonymous and kernel, without caches)."""
    names = subprocess.run(
        ["docker", "ps", "--filter", "name=cloudbang-lab-", "--format", "{{.ID}}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    total = 0
    for name in names:
        full = subprocess.run(
            ["docker", "inspect", "--format", "{{.Id}}", name], capture_output=True, text=True, check=True
        ).stdout.strip()
        for top, file in (
            (Path("/sys/fs/cgroup/memory/docker") / full, "memory.stat"),
            (Path("/sys/fs/cgroup/system.slice") / f"docker-{full}.scope", "memory.stat"),
            (Path("/sys/fs/cgroup/docker") / full, "memory.stat"),
        ):
            if (top / file).exists():
                values = dict(line.split() for line in (top / file).read_text().splitlines())
                total += int(values.get("total_rss") or values.get("anon") or 0)
                break
    return total / 2**30


def vip_failover(lab: Lab) -> list[list[Any]]:
    """Cut the power of the load balancer that holds the virtual IP and return rows about the effect on clients."""
    holder = lab.vip_holder()
    app = traffic(VIP, 80, "/get", {"Host": DEMO_DOMAIN}, keep_alive=False, timeout=1)
    api = traffic(VIP, 6443, READ, {}, lab.tls(), keep_alive=False, clients=1, timeout=1)
    with app as requests, api as reads:
        time.sleep(1)
        holder.stop()
        time.sleep(10)
    holder.start()
    holder.booted()
    lab.healthy(180)
    return [
        ["holder of the virtual IP loses power: longest gap of the app", seconds(requests.gap), "3 s"],
        ["holder of the virtual IP loses power: longest gap of API reads", seconds(reads.gap), "3 s"],
    ]


def management_lost(lab: Lab) -> list[list[Any]]:
    """Cut the power of a management host under load and return rows about the app's requests and the API's reads."""
    node = lab.group("management")[0]
    load = [
        *("wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{LOAD_SECONDS}s"),
        *("--latency", "--header", f"Host: {DEMO_DOMAIN}", f"http://{VIP}/get"),
    ]
    with traffic(VIP, 6443, READ, {}, lab.tls(), keep_alive=False, clients=1, timeout=3) as reads:
        wrk = subprocess.Popen(load, stdout=subprocess.PIPE, text=True)
        time.sleep(3)
        node.stop()
        output = wrk.communicate(timeout=LOAD_SECONDS + 30)[0]
    node.start()
    node.booted()
    lab.healthy(180)
    done = re.search(r"(\d+) requests in", output)
    p99 = re.search(r"99%\s+(\S+)", output)
    errors = [int(number) for number in re.findall(r"(?:connect|read|write|timeout|3xx responses:) (\d+)", output)]
    if wrk.returncode or not done or not p99:
        raise SystemExit(f"bench: wrk ended with {wrk.returncode}: {output}")
    what = "a management host loses power"
    requests = f"{sum(errors)} of {done[1]} failed, p99 {p99[1]}"
    answers = f"{len(reads.failures)} of {reads.sent} failed, longest gap {seconds(reads.gap)}"
    return [
        [f"{what}: app, {CONNECTIONS} keep-alive connections, {LOAD_SECONDS} s", requests, "0 failed"],
        [f"{what}: API reads, a new connection each", answers, "go on"],
    ]


def module_plays(directory: Path) -> dict[str, Path]:
    """Write the plays to compare: the same unchanged objects with different modules."""
    image = "registry.cloudbang.internal:5000/demo/httpbin:1"
    processes = [{"name": "web", "ports": [8000], "replicas": 0}]
    many = [{"name": f"bench{number}", "image": image, "processes": processes} for number in range(MANY)]
    apps = many[:OBJECTS]
    common = {"tenant": "bench", "wait": False}
    deployments = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"plain{number}", "namespace": "bench"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": f"plain{number}"}},
                "template": {
                    "metadata": {"labels": {"app": f"plain{number}"}},
                    "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 8000}]}]},
                },
            },
        }
        for number in range(MANY)
    ]
    few = deployments[:OBJECTS]

    def plain(definition: Any) -> dict[str, Any]:
        return {"name": "Deployment", "kubernetes.core.k8s": {"state": "present", "definition": definition}}

    tasks = {
        f"debug (floor), {OBJECTS} tasks": [{"name": "Say", "ansible.builtin.debug": {"msg": "x"}} for _one in apps],
        f"app, {OBJECTS} tasks of one": [{"name": "App", "cloudbang.platform.app": {**common, **one}} for one in apps],
        f"kubernetes.core.k8s, {OBJECTS} tasks of one": [plain(one) for one in few],
        f"app, one task of {OBJECTS}": [{"name": "Apps", "cloudbang.platform.app": {**common, "apps": apps}}],
        f"kubernetes.core.k8s, one task of {OBJECTS}": [plain(few)],
        f"app, one task of {MANY}": [{"name": "Apps", "cloudbang.platform.app": {**common, "apps": many}}],
        f"kubernetes.core.k8s, one task of {MANY}": [plain(deployments)],
    }
    paths = {}
    for number, (name, list_of_tasks) in enumerate(tasks.items()):
        paths[name] = directory / f"{number}.yml"
        content = [{"name": "Measure", "hosts": "localhost", "gather_facts": False, "tasks": list_of_tasks}]
        paths[name].write_text(yaml.safe_dump(content, sort_keys=False))
    return paths


def modules() -> list[list[Any]]:
    """Return rows of the comparison: median seconds of three unchanged runs of whole ansible-playbook commands."""
    environment = {**os.environ, "K8S_AUTH_KUBECONFIG": str(KUBECONFIG), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}

    def timed(name: str, path: Path) -> float:
        # kubernetes.core needs a Python with its library, which the first one found may not have.
        python = f"ansible_python_interpreter={sys.executable}"
        command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", python, str(path)]
        begin = time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {name}: {done.stdout[-2000:]}")
        return time.monotonic() - begin

    rows = []
    with tempfile.TemporaryDirectory() as directory:
        # The apps are as many as a tenant has by default; the Deployments of the other module come on top of them.
        tenant = {"name": "Tenant", "cloudbang.platform.tenant": {"name": "bench", "objects": {"Deployment": 3 * MANY}}}
        prepare = Path(directory, "prepare.yml")
        prepare.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [tenant]}]))
        timed("the tenant", prepare)
        for name, path in module_plays(Path(directory)).items():
            times = [timed(name, path) for _round in range(4)]
            rows.append([name, f"{statistics.median(times[1:]):.2f} s"])
            say(": ".join(rows[-1]))
    return rows


def measured_by(tests: str, **environment: str) -> dict[str, Any]:
    """Run end-to-end tests and return their measurements."""
    measurements = ROOT / "build" / "e2e" / "measurements.json"
    measurements.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", tests]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode:
        # The measurements contain the failures.
        say(f"{tests} failed: {done.stdout[-4000:]}")
    return dict(json.loads(measurements.read_text()))


def under_load() -> list[list[Any]]:
    """Return rows with the measurements of the end-to-end tests of applications under load."""
    rows = []
    for name, figures in measured_by("tests/e2e/test_load.py").items():
        what = name.removeprefix("load: ")
        cells = [f"{figures['seconds']:.2f} s"]
        for connections in ("kept", "new"):
            seen = figures.get(f"{connections} connections")
            cells.append(f"{seen['failed']} of {seen['requests']} failed, p99 {seen['p99 ms']} ms" if seen else "")
        rows.append([what, *cells])
        say(": ".join(rows[-1]))
    return rows


def told(figures: Any) -> str:
    """Return a measurement in one line."""
    return ", ".join(f"{key}: {value}" for key, value in figures.items()) if isinstance(figures, dict) else str(figures)


def networks() -> str:
    """Create the lab with each network in turn, and return the measurements as a section of the document."""
    texts: dict[str, dict[str, str]] = {}
    rows, found = [], {}
    for network in ("calico", "goodnet"):
        say(f"network {network}")
        environment = {"CLOUDBANG_NETWORK": network, "KUBECONFIG": str(KUBECONFIG)}
        play("cloudbang.platform.lab_down", [LAB, EXTRA_NODE], environment)
        play("cloudbang.platform.lab_up", [LAB], environment)
        first = play("cloudbang.platform.site", [LAB], environment)
        play("cloudbang.platform.demo", [LAB], environment)
        lab = Lab.load()
        lab.healthy()
        time.sleep(20)
        speed, paths = carried(lab, network)
        texts[network] = {"first run of `site`": seconds(first.seconds), **speed}
        found.update(paths)
    scales = scale(lab)
    seen = measured_by("tests/e2e/test_goodnet.py", CLOUDBANG_NETWORK="goodnet")
    for name, path in found.items():
        where = name.partition(", ")[2]
        wired = found[f"wired by hand, {where}"].throughput
        share = f"{path.throughput / wired:.2f}" if name.startswith("goodnet") else ""
        rows.append([name, f"{path.throughput:.0f} Mbit/s", share, f"{path.latency:.0f} µs", f"{path.p99:.0f} µs"])
        say(": ".join(rows[-1]))
    parts = [
        "Here Open vSwitch runs in user space, so these figures are not those of hosts that have its kernel module. "
        "One connection, medians of three rounds; latency is that of one byte there and back. Wanted of GoodNet: "
        "CNI ADD 150 / 500 ms, and 0.9 of the throughput of a bridge with VXLAN that is wired by hand in the same "
        "datapath.",
        table(["path", "throughput", "of by hand", "latency p50", "latency p99"], rows),
        table(
            ["what", "Calico", "GoodNet"],
            [[name, text, texts["goodnet"][name]] for name, text in texts["calico"].items()],
        ),
        "What the end-to-end tests of GoodNet measured:",
        table(["what", "measured"], [[name, told(figures)] for name, figures in seen.items()]),
        "Flows of one host by the size of the cluster; on an edge every tenant has an external address. Wanted are at "
        "most 13,000, loaded in 500 ms.",
        table(["hosts", "pods here", "tenants", "this host", "flows", "computed in", "loaded in"], scales),
    ]
    return NETWORKS + "\n" + "\n\n".join(parts) + "\n"


def report(
    first: Run,
    second: Run,
    add: Run,
    numbers: list[list[Any]],
    failures: list[list[Any]],
    load: list[list[Any]],
    speed: list[list[Any]],
) -> str:
    hosts = sorted(host for host in first.executions if host != "localhost")
    executions = [[host, first.executions[host], second.executions[host]] for host in hosts]
    roles = sorted(first.roles, key=lambda role: -first.roles[role])
    plays = [[name, seconds(value), seconds(second.plays.get(name, 0))] for name, value in first.plays.items()]
    slowest = sorted(first.tasks.items(), key=lambda item: -item[1])[:10]
    memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    parts = [
        "<!-- SPDX-License-Identifier: GPL-3.0-or-later -->",
        "# Benchmarks",
        f"Measured on {date.today().isoformat()} by `make bench`: {os.cpu_count()} cores, {memory} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}. Eight lab nodes run on the same machine, "
        "artifacts are cached. Where a figure is more than "
        "10 % worse than in the run before, bold type says by how much.",
        "## Installation",
        table(["what", "measured", "target"], numbers),
        "## Failures",
        table(["what", "measured", "target"], failures),
        "## Applications under load",
        "200 requests a second on kept connections and 50 on new ones, through the virtual IP to httpbin. The time is "
        "that of the whole `ansible-playbook` command, or until the wanted release first answers.",
        table(["what", "time", "kept connections", "new connections"], load),
        "## Phases",
        table(["play", "first run", "second run"], plays),
        "## Roles",
        table(
            ["role", "first run", "second run", "add a node"],
            [[one, seconds(first.roles[one]), seconds(second.roles[one]), seconds(add.roles[one])] for one in roles],
        ),
        "## Task executions",
        table(["host", "first run", "second run"], executions),
        "## The slowest ten tasks of the first run",
        table(["task", "seconds"], [[name, seconds(value)] for name, value in slowest]),
        "## Modules",
        "Unchanged apps, and Deployments for `kubernetes.core.k8s`, against the API of the lab; the whole "
        "`ansible-playbook` command, median of three. An app is a Deployment, a PodDisruptionBudget, a Service "
        "and a release.",
        table(["what", "measured"], speed),
    ]
    return "\n\n".join(parts) + "\n"


def write(measured: str | None = None, of_networks: str | None = None) -> None:
    """Write the document, and mark figures that are worse than in the previous one. None keeps the previous figures."""
    document = ROOT / "docs" / "benchmarks.md"
    before = document.read_text() if document.exists() else ""
    former, heading, by_hand = before.partition(BY_HAND)
    platform_before, networks_heading, networks_before = former.partition(NETWORKS)
    worse: list[str] = []
    if measured is None:
        measured = platform_before.rstrip("\n") + "\n"
    else:
        measured, worse = marked(before, measured)
    if of_networks is None:
        of_networks = (networks_heading + networks_before).rstrip("\n") + "\n"
    else:
        of_networks, found = marked(before, of_networks)
        worse += found
    document.write_text("\n".join(part for part in (measured, of_networks, heading + by_hand) if part.strip()))
    for line in worse:
        say(f"worse than before: {line}")
    say("wrote docs/benchmarks.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the lab running")
    parser.add_argument("--networks", action="store_true", help="measure only the networks, keep the other figures")
    options = parser.parse_args()
    os.chdir(ROOT)
    if options.networks:
        write(of_networks=networks())
        return
    numbers: list[list[Any]] = []
    if not shutil.which("wrk"):
        raise SystemExit("bench: found no wrk, wanted it for load; run: apt-get install wrk")

    def fresh_lab() -> Run:
        play("cloudbang.platform.lab_down", [LAB, EXTRA_NODE], {})
        return play("cloudbang.platform.lab_up", [LAB], {})

    speed_before = reference()
    say("lab boot")
    numbers.append(["boot of eight nodes", seconds(fresh_lab().seconds), "30 s"])
    say("first run")
    first = play("cloudbang.platform.site", [LAB], {})
    numbers.append(["first run on eight nodes", seconds(first.seconds), "300 s"])
    say("second run")
    second = play("cloudbang.platform.site", [LAB], {})
    numbers.append(["second run", f"{seconds(second.seconds)}, {second.changed} changed", "90 s, 0 changed"])
    time.sleep(30)
    numbers.append(["memory of eight nodes, idle", f"{lab_memory():.2f} GiB", "4 GiB"])
    say("demo application and failover")
    play("cloudbang.platform.demo", [LAB], {"KUBECONFIG": str(KUBECONFIG)})
    lab = Lab.load()
    lab.healthy()
    failures = [*vip_failover(lab), *management_lost(lab)]
    for row in failures:
        say(f"{row[0]}: {row[1]}")
    say("applications under load")
    load = under_load()
    say("module speed")
    time.sleep(20)
    speed = modules()
    say("add a node")
    play("cloudbang.platform.lab_up", [LAB, EXTRA_NODE], {})
    add = play("cloudbang.platform.site", [LAB, EXTRA_NODE], {}, "--limit compute3")
    numbers.append(["add a compute node", seconds(add.seconds), "90 s"])
    numbers.append(["ten million additions in Python, before and after", f"{speed_before}, {reference()}", ""])
    write(report(first, second, add, numbers, failures, load, speed))
    measurements = {"numbers": numbers, "failures": failures, "load": load, "modules": speed}
    (ROOT / "build" / "benchmarks.json").write_text(json.dumps(measurements, indent=2))
    write(of_networks=networks())
    if not options.keep:
        play("cloudbang.platform.lab_down", [LAB, EXTRA_NODE], {})


if __name__ == "__main__":
    main()
