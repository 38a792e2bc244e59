# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks before anything changes.

Facts come from ``module_utils.host.examine``, which runs on the hosts and changes nothing. The rest runs on the
controller: ``inventory`` holds inventory and facts, the ``checks_*`` modules have one function per rule, ``run`` calls
them all and shows their findings.
"""
