# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel of this host: interfaces, routes, packet filter, and the services beside the agent."""
