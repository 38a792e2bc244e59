# SPDX-License-Identifier: GPL-3.0-or-later
"""System users, made by the real useradd and usermod in a user database of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COLLECTIONS = Path(__file__).resolve().parents[5] / "build" / "collections"
HOST = ["unshare", "--map-root-user", "--mount", "sh", "-euc", 'mount --bind "$0" /etc; exec "$@"']
PROGRAM = """
import json, shutil, subprocess, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.cloudbang.platform.plugins.module_utils.host import users


class Module:
    check_mode = sys.argv[3] == "check"

    def get_bin_path(self, name, required=False):
        return shutil.which(name, path="/usr/sbin:/sbin")

    def run_command(self, command):
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr


print(json.dumps(users.create(Module(), json.loads(sys.argv[2]))))
"""


class Database:
    """A directory in the place of /etc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (root / "group").write_text("root:x:0:\n")
        for name in ("shadow", "gshadow"):
            (root / name).touch(0o600)
        shutil.copy("/etc/login.defs", root)
        (root / "nsswitch.conf").write_text("passwd: files\ngroup: files\n")

    def create(self, *users: dict[str, Any], check: bool = False) -> list[str]:
        wanted = [{"home": "/nonexistent", "group": None, **user} for user in users]
        command = [sys.executable, "-c", PROGRAM, str(COLLECTIONS), json.dumps(wanted), "check" if check else "run"]
        done = subprocess.run([*HOST, str(self.root), *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout)
        return found

    def user(self, name: str) -> list[str]:
        """Return number, group, home and shell."""
        lines = [line.split(":") for line in (self.root / "passwd").read_text().splitlines()]
        return next([line[2], self.group(line[3]), *line[5:]] for line in lines if line[0] == name)

    def group(self, number: str) -> str:
        lines = [line.split(":") for line in (self.root / "group").read_text().splitlines()]
        return next(line[0] for line in lines if line[2] == number)


@pytest.fixture()
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


def test_a_user_gets_a_group_of_its_own_and_no_login(database: Database) -> None:
    one, two = {"name": "demo", "home": "/var/lib/demo"}, {"name": "demo-pull", "group": "demo"}
    before = (database.root / "passwd").read_bytes()
    assert database.create(one, two, check=True) == ["demo", "demo-pull"]
    assert (database.root / "passwd").read_bytes() == before
    assert database.create(one, two) == ["demo", "demo-pull"]
    assert database.user("demo")[1:] == ["demo", "/var/lib/demo", "/usr/sbin/nologin"]
    assert database.user("demo-pull")[1:] == ["demo", "/nonexistent", "/usr/sbin/nologin"]
    assert 0 < int(database.user("demo")[0]) < 1000
    assert database.create(one, two) == []


def test_a_user_that_exists_keeps_its_number_and_group(database: Database) -> None:
    with (database.root / "passwd").open("a") as stream:
        stream.write("demo:x:500:600::/home/demo:/bin/sh\n")
    with (database.root / "group").open("a") as stream:
        stream.write("others:x:600:\nmore:x:601:\n")
    assert database.create({"name": "demo"}) == ["demo"]
    assert database.user("demo") == ["500", "others", "/nonexistent", "/usr/sbin/nologin"]
    assert database.create({"name": "demo", "group": "more"}) == ["demo"]
    assert database.user("demo")[:2] == ["500", "more"]


def test_a_group_of_the_name_is_taken(database: Database) -> None:
    with (database.root / "group").open("a") as stream:
        stream.write("demo:x:600:\n")
    assert database.create({"name": "demo"}) == ["demo"] and database.user("demo")[1] == "demo"
