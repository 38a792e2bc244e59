# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of a build, whose turn it is, how a build ends, and the configuration of the builder."""

from __future__ import annotations

import base64
import copy
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build import images, job
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.builder import (
    Builder,
    Limits,
    read_builder,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.build.ending import state_of
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.records import Wrong

REGISTRY = "registry.cloudbang.internal:5000"
DIGEST = "sha256:" + "a" * 64
GO = f"{REGISTRY}/cloudbang/base/run-go@{DIGEST}"
CONFIG: dict[str, Any] = {
    "format": 1,
    "registry": REGISTRY,
    "push": ["storage1.internal:5002", "storage2.internal:5002"],
    "addresses": {"storage1.internal": "10.0.0.1", "storage2.internal": "10.0.0.2", "registry.internal": "10.0.0.1"},
    "service": "lab",
    "issuer": "cloudbang-builder",
    "ca": "CA",
    "image": f"{REGISTRY}/cloudbang/builder@{DIGEST}",
    "bases": {
        "run/go": {"image": GO, "versions": {"go": ["1.24", "1.9"]}},
        "build/go": {"image": GO.replace("run", "build"), "versions": {"go": ["1.24"]}},
    },
    "limits": {"cpu": "2", "memory": "4Gi", "disk": "10Gi", "seconds": 1800, "builds": 2},
    "runtime_class": "cloudbang-builder",
    "environment": {"HTTPS_PROXY": "http://10.0.0.9:3128"},
    "authorities": "PEM",
}
WANTED = job.Wanted("shop", "acme", 3, 10240, "f" * 64, (GO,), "FROM x\n", seconds=600, by="ann@c", token="hunter2")


def config(**more: Any) -> dict[str, Any]:
    return {"data": {"builder.json": json.dumps({**CONFIG, **more})}}


BUILDER = read_builder(config())


def made() -> dict[str, Any]:
    return job.job(WANTED, BUILDER, 1000.0)


def containers() -> dict[str, dict[str, Any]]:
    spec = made()["spec"]["template"]["spec"]
    return {entry["name"]: entry for entry in [*spec["initContainers"], *spec["containers"]]}


# The configuration


def test_the_configuration_of_the_builder() -> None:
    assert BUILDER.offered.sorted("go") == ["1.9", "1.24"] and BUILDER.limits.builds == 2
    assert BUILDER.images["run/go"] == GO
    assert read_builder(config(later="x")) == BUILDER


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format: found 2"),
        ({"registry": "x y"}, 'registry: found "x y", wanted a host with its port'),
        ({"push": []}, "push: found 0 entries"),
        ({"push": ["a; touch /tmp/x"]}, "push[0]: found"),
        ({"image": "x/y:1"}, 'image: found "x/y:1", wanted HOST/REPOSITORY@sha256:DIGEST'),
        ({"bases": {"run/Go": {"image": GO}}}, "bases: a key"),
        ({"bases": {"run/go": {"image": REGISTRY + "/x:1"}}}, "bases.run/go.image: found"),
        ({"bases": {"run/go": {"image": GO, "versions": {"go": ["new"]}}}}, "wanted a version such as 1.24"),
        ({"limits": {**CONFIG["limits"], "memory": "lots"}}, 'limits.memory: found "lots", wanted a quantity'),
        ({"limits": {**CONFIG["limits"], "builds": 0}}, "limits.builds: found 0"),
        ({"addresses": {"x": "$(id)"}}, "addresses.x: found"),
        ({"environment": {"A B": "x"}}, "environment: a key"),
        ({"runtime_class": "A_B"}, "runtime_class: found"),
    ],
)
def test_a_configuration_that_cannot_be_used(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Wrong) as caught:
        read_builder(config(**change))
    assert message in str(caught.value)


@pytest.mark.parametrize("entry", [{}, {"data": {}}, {"data": {"builder.json": "{"}}, {"data": {"builder.json": "[]"}}])
def test_no_configuration(entry: dict[str, Any]) -> None:
    with pytest.raises(Wrong):
        read_builder(entry)


# The objects


def test_only_trusted_containers_have_the_token() -> None:
    mounts = {name: {one["name"] for one in entry["volumeMounts"]} for name, entry in containers().items()}
    assert list(mounts) == ["source", "bases", "build", "push"]
    assert {name for name, volumes in mounts.items() if "token" in volumes} == {"bases", "push"}
    assert "hunter2" not in json.dumps(made()) + json.dumps(job.config_map(WANTED, BUILDER, owner()))
    secret = job.secret(WANTED, BUILDER, owner())
    assert json.loads(base64.b64decode(secret["data"]["config.json"])) == {
        "auths": {host: {"registrytoken": "hunter2"} for host in CONFIG["push"]}
    }
    assert "hunter2" not in repr(WANTED)
    # Where code of a tenant runs, nothing is shared with those that push but what it has made.
    assert mounts["build"] & mounts["push"] == {"out", "config"} and mounts["source"] & mounts["bases"] == set()


def owner() -> dict[str, Any]:
    return {"metadata": {"name": job.job_name("shop", "acme"), "uid": "5a17"}}


def test_the_pod_has_nothing_of_the_cluster() -> None:
    spec = made()["spec"]["template"]["spec"]
    assert {key: spec[key] for key in ("automountServiceAccountToken", "enableServiceLinks", "hostUsers")} == {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostUsers": False,
    }
    assert spec["priorityClassName"] == "cloudbang-builds" and spec["runtimeClassName"] == "cloudbang-builder"
    assert spec["restartPolicy"] == "Never" and "hostNetwork" not in spec
    assert all({"configMap", "secret", "emptyDir"} & set(volume) for volume in spec["volumes"])
    assert {volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"] if "emptyDir" in volume} == {"10Gi"}
    for name, entry in containers().items():
        context = entry["securityContext"]
        if name == "build":
            assert context["capabilities"] == {"add": ["SYS_ADMIN"]}
        else:
            assert context["capabilities"] == {"drop": ["ALL"]} and not context["allowPrivilegeEscalation"]
        assert "privileged" not in context and entry["image"] == CONFIG["image"]
    assert spec["hostAliases"] == [
        {"ip": "10.0.0.1", "hostnames": ["registry.internal", "storage1.internal"]},
        {"ip": "10.0.0.2", "hostnames": ["storage2.internal"]},
    ]


def test_the_job_waits_and_ends() -> None:
    spec = made()["spec"]
    assert spec["suspend"] and spec["backoffLimit"] == 0 and spec["activeDeadlineSeconds"] == 600
    assert spec["ttlSecondsAfterFinished"] > 0
    assert made()["metadata"]["labels"]["cloudbang.platform/build"] == "3"
    secret = job.secret(WANTED, BUILDER, owner())
    assert secret["immutable"] and secret["metadata"]["ownerReferences"][0]["uid"] == "5a17"


def test_arguments_of_the_containers() -> None:
    found = containers()
    assert found["source"]["args"] == ["10240", "f" * 64] and found["source"]["stdinOnce"]
    hosts = "storage1.internal:5002 storage2.internal:5002"
    assert found["bases"]["args"] == [hosts, f"{images.slug(GO)}=cloudbang/base/run-go@{DIGEST}"]
    assert found["push"]["args"] == [hosts, "acme/shop:build-3"]
    assert found["build"]["args"][0] == "/work/context" and "--build-arg=HTTPS_PROXY" in found["build"]["args"]
    own = job.job(replace(WANTED, context="web", ignored=True), BUILDER, 0)["spec"]["template"]["spec"]
    arguments = own["initContainers"][2]["args"]
    assert arguments[0] == "/work/context/web" and not any("ignorefile" in word for word in arguments)
    assert {one["name"] for one in found["build"]["env"]} >= {"HTTPS_PROXY", "PIP_CERT", "SSL_CERT_FILE"}
    assert not {one["name"] for one in found["push"]["env"]} & {"HTTPS_PROXY", "PIP_CERT"}


def test_builds_of_one_app_mount_objects_of_their_own() -> None:
    one, other = replace(WANTED, nonce="1f"), replace(WANTED, nonce="2e")
    pods = [job.job(wanted, BUILDER, 0)["spec"]["template"]["spec"] for wanted in (one, other)]
    names = [[volume.get("configMap") or volume.get("secret") for volume in pod["volumes"]] for pod in pods]
    mounted = [{entry.get("name") or entry["secretName"] for entry in found if entry} for found in names]
    assert mounted == [{one.mounted}, {other.mounted}] and one.mounted != other.mounted
    for made in (job.config_map(one, BUILDER, owner()), job.secret(one, BUILDER, owner())):
        assert made["metadata"]["name"] == one.mounted
    assert job.job(one, BUILDER, 0)["metadata"]["name"] == job.job(other, BUILDER, 0)["metadata"]["name"]


def test_small_builders_need_no_more_than_their_limits() -> None:
    small = replace(BUILDER, limits=Limits(cpu="50m", memory="64Mi"))
    spec = job.job(WANTED, small, 0)["spec"]["template"]["spec"]["initContainers"][2]
    assert spec["resources"]["requests"] == {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "0"}


def test_names_of_jobs_differ_and_fit() -> None:
    names = {job.job_name("a" * 52, tenant) for tenant in ("acme", "blue", "a-b")}
    assert len(names) == 3 and all(len(name) <= 63 for name in names)
    assert job.job_name("b", "a-b") != job.job_name("b-b", "a")


def script(name: str, arguments: list[str], root: Path, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the script of a container below a directory, with programs of the test before those of the system."""
    command = [word.replace("/work/", f"{root}/work/") for word in containers()[name]["command"]]
    command = [word.replace("/dev/termination-log", f"{root}/ended") for word in command]
    for place in ("context", "incoming", "bases", "out"):
        (root / "work" / place).mkdir(parents=True, exist_ok=True)
    environment = {"PATH": f"{root}/bin:/usr/bin:/bin"}
    words = [*command, *arguments]
    return subprocess.run(words, env=environment, capture_output=True, check=False, timeout=30, **more)


def crane(root: Path, text: str) -> None:
    program = root / "bin" / "crane"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{text}")
    program.chmod(0o755)


def test_the_source_is_unpacked_only_if_it_is_whole(tmp_path: Path) -> None:
    import hashlib
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("d/a")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"12"))
    data = out.getvalue()
    arguments = [str(len(data)), hashlib.sha256(data).hexdigest()]
    short = script("source", arguments, tmp_path, input=data[:-1])
    assert short.returncode == 41 and b"the source broke off after 10239 of 10240 bytes" in short.stdout
    wrong = script("source", arguments, tmp_path, input=data[:-1] + b"x")
    assert wrong.returncode == 42 and b"arrived damaged" in wrong.stdout
    assert not (tmp_path / "work/context/d").exists()
    # What comes after it is not read.
    assert script("source", arguments, tmp_path, input=data + b"more").returncode == 0
    assert (tmp_path / "work/context/d/a").read_text() == "12"
    assert list((tmp_path / "work/incoming").iterdir()) == []


def test_bases_are_pulled_from_the_first_registry_that_answers(tmp_path: Path) -> None:
    crane(tmp_path, 'case "$3" in two/*) mkdir -p "$4"; echo "$3" >"$4/from";; *) exit 1;; esac\n')
    done = script("bases", ["one two", "abc=cloudbang/base/x@sha256:1"], tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "work/bases/abc/from").read_text() == "two/cloudbang/base/x@sha256:1\n"
    done = script("bases", ["one", "abc=x@sha256:1"], tmp_path)
    assert done.returncode == 51 and b"no registry has given x@sha256:1" in done.stdout
    assert script("bases", ["one"], tmp_path).returncode == 0


def test_the_image_is_pushed_to_every_registry(tmp_path: Path) -> None:
    crane(
        tmp_path,
        f'echo "$3" >>{tmp_path}/pushed; case "$3" in bad/*) exit 1;; odd/*) echo "$3@sha256:2";; '
        '*) echo "$3@sha256:1";; esac\n',
    )
    done = script("push", ["one two", "acme/shop:build-3"], tmp_path)
    assert done.returncode == 0 and (tmp_path / "ended").read_text() == "sha256:1"
    assert (tmp_path / "pushed").read_text() == "one/acme/shop:build-3\ntwo/acme/shop:build-3\n"
    (tmp_path / "ended").unlink()
    done = script("push", ["one bad", "acme/shop:build-3"], tmp_path)
    assert done.returncode == 61 and b"bad did not take acme/shop:build-3" in done.stdout
    done = script("push", ["one odd", "acme/shop:build-3"], tmp_path)
    assert done.returncode == 62 and not (tmp_path / "ended").exists()


# Images that a Containerfile begins with


OWN = f"""\
# syntax=docker/dockerfile:1
FROM {GO} AS build
RUN <<END
FROM none
END
RUN echo \\
FROM none
COPY --from=0 /a /b
FROM --platform=linux/amd64 {REGISTRY}/acme/base:1
COPY --from=build /app /app
"""


def test_images_become_layouts() -> None:
    found = images.named(OWN, "Dockerfile", REGISTRY, "acme")
    assert found == (GO, f"{REGISTRY}/acme/base:1")
    text = images.localized(OWN, found, ["HTTPS_PROXY"])
    assert f"FROM oci:/work/bases/{images.slug(GO)} AS build\nARG HTTPS_PROXY\nRUN <<END\nFROM none\nEND\n" in text
    assert f"FROM --platform=linux/amd64 oci:/work/bases/{images.slug(found[1])}\nCOPY" in text
    assert REGISTRY not in text and text.count("FROM none") == 2
    assert images.moving(found) == [f"{REGISTRY}/acme/base:1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "FROM golang:1.24\n",
            f"found FROM golang:1.24, wanted an image of {REGISTRY}/acme/ or {REGISTRY}/cloudbang/b",
        ),
        (f"FROM {REGISTRY}/blue/x:1\n", f"found FROM {REGISTRY}/blue/x:1, wanted an image of"),
        (f"FROM {REGISTRY}/acme/X:1\n", "wanted a reference of an image"),
        (f"FROM {REGISTRY}/acme/x@sha256:1\n", "wanted a reference of an image"),
        ("ARG V\nFROM x:$V\n", "found a variable in FROM x:$V, wanted the image itself"),
        ("FROM scratch\nCOPY --from=alpine /a /b\n", 'found the image "alpine" in COPY, wanted a stage of this file'),
        ("FROM scratch\nRUN --mount=type=bind,from=alpine,target=/a x\n", 'found the image "alpine" in RUN'),
    ],
)
def test_images_of_others_are_refused(text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        images.named(text, "Dockerfile", REGISTRY, "acme")
    assert message in str(caught.value)


def test_scratch_is_no_image() -> None:
    assert images.named("FROM scratch\n", "Dockerfile", REGISTRY, "acme") == ()


# Whose turn it is


def entry(
    name: str, tenant: str, created: int, suspended: bool = True, beat: int = 1000, **more: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": f"2026-01-01T00:00:{created:02}Z",
            "labels": {"cloudbang.platform/tenant": tenant},
            "annotations": {job.HEARTBEAT: str(beat)},
        },
        "spec": {"suspend": suspended},
        **more,
    }


DONE = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}


@pytest.mark.parametrize(
    ("jobs", "most", "turns"),
    [
        ([entry("a", "x", 1)], 1, {"a"}),
        ([entry("a", "x", 1), entry("b", "y", 2)], 1, {"a"}),
        ([entry("b", "y", 1), entry("a", "x", 1)], 1, {"a"}),
        ([entry("a", "x", 1), entry("b", "y", 2)], 2, {"a", "b"}),
        ([entry("r", "x", 0, False), entry("a", "x", 1)], 1, set()),
        # One that ran and has ended, and one that waits for a controller that is gone.
        ([entry("r", "x", 0, False, **DONE), entry("a", "x", 1)], 1, {"a"}),
        ([entry("g", "x", 0, beat=900), entry("a", "x", 1)], 1, {"a"}),
        # One that runs counts even if its controller is gone: it uses a node.
        ([entry("r", "x", 0, False, beat=0), entry("a", "x", 1)], 1, set()),
        # A tenant with many builds does not keep the others waiting.
        ([entry("a", "x", 1), entry("b", "x", 2), entry("c", "y", 3)], 2, {"a", "c"}),
        ([entry("r", "x", 0, False), entry("a", "x", 1), entry("c", "y", 3)], 2, {"c"}),
    ],
)
def test_builds_take_turns(jobs: list[dict[str, Any]], most: int, turns: set[str]) -> None:
    names = [one["metadata"]["name"] for one in jobs]
    assert {name for name in names if job.may_start(jobs, name, most, 1005.0)} == turns


# How a build ends


def status_of(**states: Any) -> dict[str, Any]:
    """Return the status of a pod whose containers have these states."""
    listed = [{"name": name, "state": state} for name, state in states.items()]
    return {
        "initContainerStatuses": [one for one in listed if one["name"] != "push"],
        "containerStatuses": [one for one in listed if one["name"] == "push"],
    }


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


OK = ended(0, reason="Completed")
RUNS: dict[str, Any] = {"running": {}}
LATER = waits("PodInitializing")
JOB = {"metadata": {"name": "x"}, "spec": {}}


def failed(reason: str, message: str = "") -> dict[str, Any]:
    return {
        **JOB,
        "status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": message}]},
    }


def state(
    status: dict[str, Any] | None, found: Any = "as made", log: tuple[str, ...] = (), waited: float = 0, **meta: Any
) -> Any:
    pods = [] if status is None else [{"metadata": {"name": "pod", **meta}, "status": status}]
    return state_of(JOB if found == "as made" else found, pods, Limits(), 600, log, waited)


def test_a_build_without_a_pod_any_more_says_what_ran_when_its_time_was_over() -> None:
    condition = {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}
    ending = {**JOB, "status": {"conditions": [condition]}}
    last = state(status_of(source=OK, bases=OK, build=RUNS, push=LATER))
    assert "took longer than 9 s in build;" in state_of(ending, [], Limits(), 9, last=last).failure
    waiting = replace(last, running="", waiting="no node takes its pod")
    assert "took longer than 9 s (no node takes its pod);" in state_of(ending, [], Limits(), 9, last=waiting).failure


@pytest.mark.parametrize(
    ("status", "running", "over"),
    [
        (status_of(source=RUNS, bases=LATER, build=LATER, push=LATER), "source", ()),
        (status_of(source=OK, bases=RUNS, build=LATER, push=LATER), "bases", ("source",)),
        (status_of(source=OK, bases=OK, build=RUNS, push=LATER), "build", ("source", "bases")),
        (status_of(source=OK, bases=OK, build=OK, push=RUNS), "push", ("source", "bases", "build")),
        (status_of(source=OK, bases=OK, build=OK, push=LATER), "", ("source", "bases", "build")),
    ],
)
def test_how_far_a_build_is(status: dict[str, Any], running: str, over: tuple[str, ...]) -> None:
    found = state(status)
    assert (found.running, found.ended, found.failure, found.digest) == (running, over, "", "")


def test_a_build_that_succeeds() -> None:
    found = state(status_of(source=OK, bases=OK, build=OK, push=ended(0, DIGEST + "\n", "Completed")))
    assert found.digest == DIGEST and not found.failure


UNSCHEDULED = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: insufficient memory"}]}


@pytest.mark.parametrize(
    ("status", "found", "waiting"),
    [
        (UNSCHEDULED, JOB, "no node takes its pod: 0/3 nodes: insufficient memory"),
        (None, JOB, "no pod yet"),
        (None, {**JOB, "spec": {"suspend": True}}, "other builds run"),
        (status_of(source=waits("ErrImagePull", "dial tcp: timeout")), JOB, "source: ErrImagePull: dial tcp: timeout"),
        (status_of(source=waits("ContainerCreating")), JOB, "source: ContainerCreating"),
    ],
)
def test_what_a_build_waits_for(status: Any, found: Any, waiting: str) -> None:
    told = state(status, found)
    assert told.waiting == waiting and not told.failure


EVICTED = {"phase": "Failed", "reason": "Evicted", "message": 'Usage of EmptyDir volume "storage" exceeds the limit'}
FAILURES: list[tuple[Any, dict[str, Any], str]] = [
    (None, {"found": None}, "cancelled: its Job was deleted while it ran"),
    (
        None,
        {"found": failed("BackoffLimitExceeded")},
        "its pod was deleted while it ran, by somebody or because its node was lost",
    ),
    (
        status_of(source=OK, bases=OK, build=RUNS),
        {"found": failed("DeadlineExceeded")},
        "took longer than 600 s in build; wanted: less work, or a longer timeout",
    ),
    (EVICTED, {}, 'evicted, because it used too much disk (Usage of EmptyDir volume "storage" exceeds the limit)'),
    (
        {"reason": "Evicted", "message": "node had memory pressure"},
        {},
        "evicted from its node: node had memory pressure",
    ),
    (
        status_of(source=ended(41, "the source broke off after 1 of 2 bytes")),
        {},
        "the source did not reach the cluster",
    ),
    (
        status_of(source=OK, bases=ended(51, "no registry has given x")),
        {},
        "a base image cannot be pulled: no registry",
    ),
    (
        status_of(source=OK, bases=OK, build=ended(137, reason="OOMKilled")),
        {},
        "build was killed, because it used more memory than 4Gi",
    ),
    (
        status_of(source=OK, bases=OK, build=ended(1)),
        {"log": ("Error: building: while running runtime: exit status 137",)},
        "a command was killed (exit code 137), likely because it used more memory than 4Gi",
    ),
    (
        status_of(source=OK, bases=OK, build=ended(1, "write /x: no space left on device")),
        {},
        "no disk was left; wanted at most 10Gi, builder_disk of the role builder",
    ),
    (status_of(source=OK, bases=OK, build=ended(2, "make: ***")), {}, "the build ended with exit code 2"),
    (
        status_of(source=OK, bases=OK, build=OK, push=ended(61, "PUT x: 401 UNAUTHORIZED: denied")),
        {},
        "the registry refused the image: PUT x: 401 UNAUTHORIZED: denied",
    ),
    (
        status_of(source=OK, bases=OK, build=OK, push=ended(61, "dial tcp: connection refused")),
        {},
        "the image cannot be pushed: dial tcp: connection refused",
    ),
    (
        status_of(source=OK, bases=OK, build=OK, push=ended(0, "hello", "Completed")),
        {},
        "the push reported hello, wanted the digest of the image",
    ),
    (
        status_of(source=waits("ErrImagePull", "x: not found")),
        {},
        "the builder's image cannot be pulled: source: ErrImagePull: x: not found",
    ),
    (status_of(source=waits("ImagePullBackOff", "timeout")), {"waited": 61}, "the builder's image cannot be pulled"),
    (
        status_of(source=waits("CreateContainerError", "no user namespaces")),
        {"waited": 6},
        "the node does not start source: CreateContainerError: no user namespaces",
    ),
    ({"phase": "Failed", "message": "Node is shutting down"}, {}, "Node is shutting down"),
]


@pytest.mark.parametrize(("status", "more", "message"), FAILURES)
def test_a_build_that_fails_says_why(status: Any, more: dict[str, Any], message: str) -> None:
    found = state(status, **more)
    assert message in found.failure and not found.digest


def test_an_older_pod_does_not_count() -> None:
    pods = [
        {"metadata": {"name": "new", "creationTimestamp": "2"}, "status": status_of(source=RUNS)},
        {"metadata": {"name": "old", "creationTimestamp": "1"}, "status": EVICTED},
    ]
    assert state_of(JOB, pods, Limits(), 600).pod == "new"


def test_a_message_is_fit_for_a_terminal() -> None:
    found = state(status_of(source=OK, bases=ended(1, "x" * 2000 + "\x1b[2J\nend")))
    assert "\x1b" not in found.failure and found.failure.endswith(r"\x1b[2J end") and len(found.failure) < 600


def test_the_objects_do_not_share_what_can_change() -> None:
    before = copy.deepcopy(made())
    containers()["source"]["resources"]["limits"]["cpu"] = "9"
    assert made() == before


def test_the_builder_is_a_value() -> None:
    assert isinstance(BUILDER, Builder) and replace(BUILDER, ca="") != BUILDER
