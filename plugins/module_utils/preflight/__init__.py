# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What has to be true before anything changes.

``examine`` runs on the hosts and only looks; everything else runs on the controller: ``inventory`` holds what is known,
the ``checks_*`` modules are one function per rule, ``run`` calls them all and ``report`` shows what they found.
"""
