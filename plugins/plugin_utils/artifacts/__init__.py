# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that Cloudbang installs, from the project's releases, a mirror or source, verified and cached.

found = ensure(["kubelet", "image-pause"], Settings.from_vars(task_vars), progress=display.display)
found["kubelet"].path
"""

from __future__ import annotations

from .errors import ArtifactError
from .resolve import Artifact, Planned, Settings, bundle, ensure, names, plan

__all__ = ["Artifact", "ArtifactError", "Planned", "Settings", "bundle", "ensure", "names", "plan"]
