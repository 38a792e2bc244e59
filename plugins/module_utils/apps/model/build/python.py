# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python: which tool installs the dependencies, and what starts the app. Pure."""

from __future__ import annotations

from .plan import APP, Output, Plan, Process, Step
from .project import Project, Wish
from .versions import exactly

VENV = "/opt/venv"
_PATH = f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def match(project: Project) -> str:
    """Return the files that make a tree one of Python, "" without them."""
    return project.tree.first(("requirements.txt",))


def plan(project: Project) -> Plan:
    """Return the plan of a project of Python."""
    version = project.version("python", project.wishes("python", Wish(".python-version", _pinned(project), exactly)))
    install = (
        Step(("python3", "-m", "venv", VENV)),
        Step(
            (f"{VENV}/bin/pip", "install", "--no-input", "--requirement", "requirements.txt"),
            network=True,
            caches=("/root/.cache/pip",),
        ),
    )
    return Plan(
        "python",
        "pip",
        (version,),
        root=project.tree.directory,
        build_base="build/python",
        run_base="run/python",
        manifests=("requirements.txt",),
        install=install,
        outputs=(Output(VENV + "/", VENV + "/"), Output(APP + "/", APP + "/")),
        environment=(("PATH", _PATH), ("PYTHONUNBUFFERED", "1")),
        processes=project.processes(lambda: Process("web", "python main.py", "main.py")),
    )


def _pinned(project: Project) -> str:
    return next((line.strip() for line in project.text(".python-version").split("\n") if line.strip()), "")
