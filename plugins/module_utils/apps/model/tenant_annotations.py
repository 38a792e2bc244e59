# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Annotations of a tenant's Namespace that bound what may be in the tenant's objects.

Only administrators write Namespaces. M(cloudbang.platform.tenant) sets the annotations, and the admission policies read
them. Each is a list of texts with commas between them; one that is missing stands for an empty list.
"""

from __future__ import annotations

from .labels import PREFIX

# Domains for which the gateway takes requests: shop.example.org, or *.example.org for all names below it.
DOMAINS = PREFIX + "domains"
# Keys of taints that pods may tolerate.
TOLERATIONS = PREFIX + "tolerations"
# Priority classes that pods may have.
PRIORITY_CLASSES = PREFIX + "priority-classes"
# Prefixes of repositories in the cluster's registry that pods may run besides the tenant's own, such as tools/.
IMAGES = PREFIX + "images"
# How names of objects must not begin, since the gateway would take them for those of another tenant: what follows this
# tenant's name and a hyphen in the names of others.
RESERVED_NAMES = PREFIX + "reserved-names"
