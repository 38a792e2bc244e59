# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be true before anything changes.

Facts come from ``module_utils.host.examine``, which runs on the hosts and only looks. The rest runs on the controller:
``inventory`` holds what is known, the ``checks_*`` modules are one function per rule, ``run`` calls them all and shows
what they found.
"""
