# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a source tree to a page that an app serves, and what code in a build can do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from scenario import STATE, module, node, objects, wait_for

TENANT = "acme"
VIP = "10.94.14.100"
REGISTRY = "registry.cloudbang.internal:5000"
SERVER = """package main

import (
    "fmt"
    "net/http"
    "os"
)

func main() {
    http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprint(answer, "GREETING") })
    if err := http.ListenAndServe(":"+os.Getenv("PORT"), nil); err != nil {
        panic(err)
    }
}
"""
# What a tenant's code may not reach, as root of a build. It prints what it reached.
ATTACK = """import glob, os, socket, sys

reached = []
with open("/proc/self/uid_map") as stream:
    if stream.read().split()[1] == "0":
        reached.append("root of the node")
for place in ("/run/secrets", "/var/run/secrets", "/run/builder/token"):
    reached += glob.glob(place + "/**/*token*", recursive=True) + glob.glob(place + "/**/config.json", recursive=True)
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        with open(path, "rb") as stream:
            reached += [path] if b"registrytoken" in stream.read() else []
    except OSError:
        pass
for place in ("/dev/vda", "/dev/sda", "/dev/mem", "/run/containerd/containerd.sock"):
    try:
        os.close(os.open(place, os.O_RDONLY))
        reached.append(place)
    except OSError:
        pass
try:
    os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0))
    os.close(os.open("/tmp/disk", os.O_RDONLY))
    reached.append("a disk of the node")
except OSError:
    pass
for host, port in (PLACES):
    try:
        socket.create_connection((host, port), 2).close()
        reached.append(f"{host}:{port}")
    except OSError:
        pass
print("reached", reached)
"""
PYTHON = "FROM registry.cloudbang.internal:5000/cloudbang/base/build-python:current\n"
GO = {"go.mod": "module example.org/hello\n\ngo 1.24\n", "main.go": SERVER}


def task(action: str, /, **options: Any) -> dict[str, Any]:
    """Run a module of apps on the controller."""
    return module("localhost", f"cloudbang.platform.{action}", kubeconfig=f"{STATE}/admin.conf", **options)


def source(place: Path, files: dict[str, str]) -> dict[str, str]:
    for path, text in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    return {"path": str(place)}


def build(place: Path, files: dict[str, str], app: str = "hello", **options: Any) -> dict[str, Any]:
    return task("app_build", name=app, tenant=TENANT, source=source(place, files), **options)


def pods() -> list[dict[str, Any]]:
    return objects("pods", "--namespace=cloudbang-builds")


def page(app: str, path: str = "/") -> str:
    """Return what the app answers through the load balancer."""
    found = node("node1").run(f"curl --silent --max-time 3 --header 'Host: {app}.example.org' http://{VIP}{path}")
    return str(found.stdout)


def serve(app: str, number: int) -> dict[str, Any]:
    done = task("app", name=app, tenant=TENANT, build=number, domains=[f"{app}.example.org"], timeout=120)
    assert not done.get("failed"), done
    return done


@pytest.fixture(scope="module", autouse=True)
def tenant() -> None:
    done = task("tenant", name=TENANT, domains=["example.org"])
    assert not done.get("failed"), done


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    place = tmp_path_factory.mktemp("hello")
    done = build(place, {**GO, "main.go": SERVER.replace("GREETING", "first")})
    assert not done.get("failed"), done["msg"]
    return place, done["build"]


def test_source_becomes_a_page(hello: tuple[Path, dict[str, Any]]) -> None:
    _place, made = hello
    assert (made["number"], made["language"], made["cached"]) == (1, "go", False)
    assert made["image"].startswith(f"{REGISTRY}/{TENANT}/hello@sha256:")
    serve("hello", 1)
    wait_for(lambda: page("hello") == "first", 30)


def test_the_same_source_is_the_same_build(hello: tuple[Path, dict[str, Any]]) -> None:
    place, made = hello
    again = build(place, {})
    assert (again["changed"], again["build"]["number"], again["build"]["image"]) == (False, 1, made["image"])
    assert again["build"]["cached"] and pods() == []
    assert not serve("hello", 1)["changed"]


def test_a_changed_file_is_a_new_release_and_a_rollback_brings_the_first_back(
    hello: tuple[Path, dict[str, Any]],
) -> None:
    place, made = hello
    second = build(place, {"main.go": SERVER.replace("GREETING", "second")})
    assert (second["changed"], second["build"]["number"]) == (True, 2)
    assert second["build"]["image"] != made["image"]
    serve("hello", 2)
    wait_for(lambda: page("hello") == "second", 30)
    back = task("app_release", name="hello", tenant=TENANT, version="1")
    assert not back.get("failed"), back
    wait_for(lambda: page("hello") == "first", 30)


def test_a_static_site_is_served(tmp_path: Path) -> None:
    made = build(tmp_path, {"index.html": "<p>hello</p>\n", "css/site.css": "p {}\n"}, "site")
    assert made["build"]["language"] == "static", made
    serve("site", 1)
    wait_for(lambda: page("site", "/css/site.css") == "p {}\n", 30)
    assert page("site") == "<p>hello</p>\n"


def test_source_that_does_not_compile_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    failed = build(tmp_path, {**GO, "main.go": "package main\n\nfunc main() { missing() }\n"}, "broken")
    assert failed["failed"] and not failed["changed"]
    assert "undefined: missing" in failed["msg"]
    assert objects("configmaps", f"--namespace={TENANT}", "--selector=cloudbang.platform/app=broken") == []
    wait_for(lambda: pods() == [], 30)


def test_code_in_a_build_reaches_nothing_of_the_platform(tmp_path: Path) -> None:
    host = "10.94.14.11"
    dns = objects("pods", "--namespace=kube-system", "--selector=k8s-app=kube-dns")[0]["status"]["podIP"]
    closed = [(host, port) for port in (22, 2379, 5000, 5001, 6443, 10250)]
    closed += [(VIP, 6443), (VIP, 80), ("10.96.0.1", 443), ("169.254.169.254", 80), (dns, 9153)]
    # The registry is open, which shows that the others are closed.
    places = repr([*closed, (host, 5002)])
    made = build(
        tmp_path,
        {
            "Dockerfile": PYTHON + "COPY attack.py /\nRUN python3 /attack.py\n",
            "attack.py": ATTACK.replace("(PLACES)", places),
        },
        "attack",
    )
    assert not made.get("failed"), made["msg"]
    (record,) = objects("configmaps", f"--namespace={TENANT}", "--selector=cloudbang.platform/app=attack")
    assert f"reached ['{host}:5002']" in json.dumps(record["data"])


def test_a_build_without_credentials_pushes_nothing(tmp_path: Path) -> None:
    ask = "from ssl import _create_unverified_context as c; from urllib.request import urlopen; "
    ask += "urlopen('https://10.94.14.11:5002/v2/', context=c())"
    failed = build(tmp_path, {"Dockerfile": PYTHON + f'RUN python3 -c "{ask}"\n'}, "push")
    assert failed["failed"] and "HTTP Error 401: Unauthorized" in failed["msg"]


@pytest.mark.parametrize(
    ("command", "timeout", "message"),
    [
        ("python3 -c 'x = bytearray(3 << 30)'", 120, "more memory than 1Gi"),
        ("sleep 200", 40, "took longer than"),
    ],
)
def test_a_build_that_takes_too_much_ends_with_its_message(
    command: str, timeout: int, message: str, tmp_path: Path
) -> None:
    failed = build(tmp_path, {"Dockerfile": PYTHON + f"RUN {command}\n"}, "much", timeout=timeout)
    assert failed["failed"] and message in failed["msg"], failed["msg"]
    wait_for(lambda: pods() == [], 60)


def test_a_build_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    source(tmp_path, {**GO, "Dockerfile": PYTHON + "RUN sleep 300\n"})
    options = {
        "kubeconfig": f"{STATE}/admin.conf",
        "name": "killed",
        "tenant": TENANT,
        "source": {"path": str(tmp_path)},
    }
    run = subprocess.Popen(
        ["ansible", "localhost", "--module-name=cloudbang.platform.app_build", f"--args={json.dumps(options)}"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )

    def building() -> bool:
        states = [one for pod in pods() for one in pod["status"].get("initContainerStatuses", [])]
        return any(one["name"] == "build" and "running" in one["state"] for one in states)

    wait_for(building, 60)
    # The process of the task is in a session of its own.
    workers = subprocess.run(["pgrep", "--parent", str(run.pid)], capture_output=True, text=True, check=True).stdout
    for process in (run.pid, *map(int, workers.split())):
        os.kill(process, signal.SIGKILL)
    run.wait()
    (tmp_path / "Dockerfile").unlink()
    done = build(tmp_path, {}, "killed")
    assert not done.get("failed"), done["msg"]
    assert done["build"]["number"] == 1
    wait_for(lambda: pods() == [], 60)


def test_python_without_dependencies_is_served(tmp_path: Path) -> None:
    files = {"requirements.txt": "", "Procfile": "web: python -m http.server $PORT\n", "index.html": "<p>python</p>\n"}
    made = build(tmp_path, files, "snake")
    assert not made.get("failed"), made["msg"]
    assert made["build"]["language"] == "python"
    serve("snake", 1)
    wait_for(lambda: page("snake") == "<p>python</p>\n", 30)
