# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applications on Kubernetes, in three rooms. Imports go one way, from each to those below it.

`runner` takes the options of a module and returns its result; it is the only file that knows of modules.
`actions` talk to the API.
`model` is pure: what apps, releases, routes, stacks, templates and tenants are, and which changes a plan makes of them.
"""
