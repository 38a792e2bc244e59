# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that a Containerfile begins with: which they are, and the file with what a build has pulled instead. Pure.

A build gets its images as OCI layouts in a directory, since it has no credentials to pull any itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import reference, well_formed
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from ..options import Invalid
from .dockerfile import instructions

LAYOUTS = "/work/bases"
SCRATCH = "scratch"
MAX_IMAGES = 20
# The repository of base images.
PLATFORM = "cloudbang/base/"
_FROM = re.compile(r"(?P<before>[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*)(?P<image>\S+)(?P<after>[^\n]*)\Z", re.IGNORECASE)
_COPIED = re.compile(r"--from=[\"']?([^\s\"']+)")
_MOUNTED = re.compile(r"--mount=\S*?from=[\"']?([^\s\"',]+)")


def slug(image: str) -> str:
    """Return the name of the directory of an image's layout."""
    return hashlib.sha256(image.encode()).hexdigest()[:16]


def named(text: str, place: str, registry: str, tenant: str) -> tuple[str, ...]:
    """Return the images that an author's Containerfile begins with, each once. Raises Invalid with all that are wrong.

    They have to be in the cluster's registry: those of the tenant, and the platform's bases.
    """
    findings: list[Finding] = []
    stages: set[str] = set()
    images: list[str] = []
    for name, rest in instructions(text):
        words = [word for word in rest.split() if not word.startswith("--")]
        if name == "FROM" and words:
            image = words[0]
            if image.lower() not in stages | {SCRATCH}:
                images.append(image)
                findings += _faults(image, place, registry, tenant)
            if len(words) > 2 and words[1].upper() == "AS":
                stages.add(words[2].lower())
            stages.add(str(len([one for one in stages if one.isdigit()])))
        for other in (*_COPIED.findall(rest), *_MOUNTED.findall(rest)) if name in ("COPY", "RUN") else ():
            if other.lower() not in stages:
                wanted = "a stage of this file: FROM IMAGE AS NAME"
                findings.append(Finding(place, f"the image {shown(other)} in {name}", wanted))
    unique = tuple(dict.fromkeys(images))
    if len(unique) > MAX_IMAGES:
        findings.append(Finding(place, f"{len(unique)} images", f"at most {MAX_IMAGES}"))
    if findings:
        raise Invalid(dict.fromkeys(findings))
    return unique


def _faults(image: str, place: str, registry: str, tenant: str) -> Iterable[Finding]:
    found = f"FROM {image[:200]}"
    if "$" in image:
        yield Finding(place, f"a variable in {found}", "the image itself, as it is pulled before the build")
        return
    parts = reference(image)
    allowed = (f"{tenant}/", PLATFORM)
    if parts.host != registry or not parts.repository.startswith(allowed):
        wanted = f"an image of {registry}/{tenant}/ or {registry}/{PLATFORM}: push it there first"
        yield Finding(place, found, wanted)
    elif not well_formed(image):
        yield Finding(place, found, "a reference of an image")


def moving(images: Iterable[str]) -> list[str]:
    """Return the images that are not named by digest, so that others may be behind their names at another time."""
    return [image for image in images if not reference(image).digest]


def localized(text: str, images: Iterable[str], arguments: Iterable[str] = ()) -> str:
    """Return a Containerfile that begins with layouts instead of images, and whose stages have these arguments.

    The last stage, which is the image, and lines of here-documents stay as they are.
    """
    layouts: Mapping[str, str] = {image: f"oci:{LAYOUTS}/{slug(image)}" for image in images}
    names = sorted(arguments)
    lines = text.split("\n")
    starts = [number for number in _from_lines(text) if _FROM.match(lines[number])]
    for number in starts:
        match = _FROM.match(lines[number])
        if match is None:
            raise AssertionError("a line that has just matched")
        lines[number] = match["before"] + layouts.get(match["image"], match["image"]) + match["after"]
        if number != starts[-1] and names:
            lines[number] = "\n".join([lines[number], *(f"ARG {name}" for name in names)])
    return "\n".join(lines)


def _from_lines(text: str) -> list[int]:
    """Return the numbers of the lines that are instructions FROM, not parts of other instructions."""
    found, end, continued = [], "", False
    for number, line in enumerate(text.split("\n")):
        if end:
            end = "" if line.strip() == end else end
            continue
        if line.lstrip().startswith("#") or (not line.strip() and continued):
            continue
        if not continued and _FROM.match(line):
            found.append(number)
        words = [] if continued else line.split()
        heredoc = re.search(r"""<<-?["']?(\w{1,60})["']?""", line)
        if heredoc and words and words[0].upper() in ("RUN", "COPY", "ADD"):
            end = heredoc[1]
        continued = line.rstrip().endswith("\\")
    return found


def docker_config(hosts: Iterable[str], token: str) -> str:
    """Return the configuration with which registry clients send this token to hosts."""
    return json.dumps({"auths": {host: {"registrytoken": token} for host in hosts}}, sort_keys=True)
