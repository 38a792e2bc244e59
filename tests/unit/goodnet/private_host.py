# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of its own for tests: a network namespace with an Open vSwitch in user space, and pods' beside it."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from goodnet.ovs.ovsdb import Ovsdb

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
CLONE_NEWNET = 0x40000000
# Tests of one file may run in several processes at the same time: what they make has the process's name in its own.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


def inside(netns: str, *command: str) -> str:
    """Run a command in that network namespace."""
    return run("ip", "netns", "exec", Path(netns).name, *command)


def run(*command: str, **options: object) -> str:
    done = subprocess.run(command, text=True, capture_output=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return str(done.stdout)


class PrivateHost:
    """While it is open, the calling thread and all that it starts are in the host's network namespace.

    It starts by removing what a killed run with the same name left. Without a switch it is only the namespace.
    """

    def __init__(self, name: str, switch: bool = True) -> None:
        self.prefix = f"gn-cni-{name}-{WORKER}-"
        self.rundir = Path(tempfile.gettempdir()) / f"gn-cni-{name}-{WORKER}"
        self._environment = {**os.environ, "OVS_RUNDIR": str(self.rundir), "OVS_LOGDIR": str(self.rundir)}
        self._home = -1
        self._switch = switch

    def __enter__(self) -> PrivateHost:
        self._clean()
        self.rundir.mkdir()
        try:
            self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            self._enter(Path(self.netns("host")))
            run("ip", "link", "set", "lo", "up")
            if self._switch:
                run("ovsdb-tool", "create", str(self.rundir / "conf.db"), SCHEMA)
                self.start_database()
                self.vsctl("--no-wait", "init")
                self.start_switch()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._home != -1:
            self._enter(Path(f"/proc/self/fd/{self._home}"))
            os.close(self._home)
        self._clean()

    def netns(self, name: str) -> str:
        """Make a network namespace and give its path."""
        run("ip", "netns", "add", self.prefix + name)
        return f"/run/netns/{self.prefix}{name}"

    def remove_netns(self, *paths: str) -> None:
        """Remove these; without any, all but the host's own."""
        for name in [Path(path).name for path in paths] or self._names():
            if paths or name != self.prefix + "host":
                run("ip", "netns", "del", name)

    def _names(self) -> list[str]:
        there = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
        return [name for name in there if name.startswith(self.prefix)]

    def vsctl(self, *arguments: str) -> str:
        return run("ovs-vsctl", "--timeout=10", f"--db=unix:{self.rundir}/db.sock", *arguments)

    def start_database(self) -> None:
        log, socket = f"--log-file={self.rundir}/ovsdb-server.log", f"--remote=punix:{self.rundir}/db.sock"
        self._ovs("ovsdb-server", str(self.rundir / "conf.db"), socket, "--pidfile", "--detach", "--no-chdir", log)

    def start_switch(self) -> None:
        database, log = f"unix:{self.rundir}/db.sock", f"--log-file={self.rundir}/ovs-vswitchd.log"
        self._ovs("ovs-vswitchd", database, "--pidfile", "--detach", "--no-chdir", "--disable-system", log)

    def stop_database(self) -> None:
        self._kill("ovsdb-server")

    def stop_switch(self) -> None:
        self._kill("ovs-vswitchd")

    def flows(self, bridge: str) -> list[str]:
        target = f"unix:{self.rundir}/{bridge}.mgmt"
        text = run("ovs-ofctl", "-O", "OpenFlow14", "dump-flows", "--no-stats", target)
        return sorted(line.strip() for line in text.splitlines())

    def open_database(self, timeout: float = 15.0) -> Ovsdb:
        database = Ovsdb(self.rundir, timeout=timeout)
        database.start()
        return database

    def _ovs(self, *command: str) -> None:
        run(*command, env=self._environment)

    def _kill(self, name: str) -> None:
        try:
            pid = int((self.rundir / f"{name}.pid").read_text())
            if Path(f"/proc/{pid}/comm").read_text().strip() != name:
                return
            process = os.pidfd_open(pid)
        except (FileNotFoundError, ProcessLookupError):
            return
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            # It is over when its last thread is, which still had the lock on the pidfile.
            assert select.select([process], [], [], 10)[0], f"{name} does not end"
        except ProcessLookupError:
            pass
        finally:
            os.close(process)

    def _clean(self) -> None:
        self._kill("ovs-vswitchd")
        self._kill("ovsdb-server")
        shutil.rmtree(self.rundir, ignore_errors=True)
        for name in self._names():
            run("ip", "netns", "del", name)

    def _enter(self, netns: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(netns, "rb") as there:
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
