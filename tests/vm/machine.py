# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual machine of Debian packages with a kernel of its own, in QEMU."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.cloudbang.platform.plugins.lookup.declared import load
from ansible_collections.cloudbang.platform.plugins.plugin_utils import declarations
from ansible_collections.cloudbang.platform.plugins.plugin_utils.debian.rootfs import bootstrap, digest
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.options import defaults

GATEWAY, ADDRESS, VIP, LENGTH = "10.97.0.1", "10.97.0.11", "10.97.0.100", 24
INTERFACE = "cbvm0"
# Emulation works on every machine. CLOUDBANG_VM_ACCELERATOR=kvm is faster where it works.
ACCELERATOR = os.environ.get("CLOUDBANG_VM_ACCELERATOR", "tcg")
MEMORY_MIB = 6144
DISK_GIB = 16
BOOT_SECONDS = 900
PACKAGES = [
    "ca-certificates",
    "curl",
    "dbus",
    # What a machine may have had before: see the first test.
    "docker.io",
    "initramfs-tools",
    "iproute2",
    "iputils-ping",
    "kmod",
    "linux-image-cloud-amd64",
    "openssh-server",
    "python3",
    "sudo",
    "systemd-sysv",
    "udev",
    "ufw",
]
NETWORK = f"""[Match]
Name=eth0

[Network]
Address={ADDRESS}/{LENGTH}
Gateway={GATEWAY}
"""
SSH = ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5", "-o", "StrictHostKeyChecking=yes"]


def run(*command: str | Path, **more: Any) -> str:
    """Return what a command prints; its error output is part of the exception when it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(map(str, command))}: exit status {done.returncode}: {done.stderr.strip()[-2000:]}"
        )
    return done.stdout


class Machine:
    """The machine, with its files in a directory: image, keys, inventory and the log of its serial console."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self.directory, self._say = directory, say
        self.key, self.known_hosts = directory / "id_ed25519", directory / "known_hosts"
        self.log, self._pid = directory / "serial.log", directory / "qemu.pid"

    def recipe(self) -> dict[str, Any]:
        """Return the root file system, with the packages that the roles declare, so that it needs no mirror."""
        declared = declarations.roles(load)
        packages = {*PACKAGES, *declarations.packages(declared, defaults(load).get)}
        units = sorted({unit for role in declared for unit in role.package_units})
        return {"suite": "trixie", "packages": sorted(packages), "disable": units}

    def build(self) -> Path:
        """Return the directory with kernel, initrd and disk, made first if need be."""
        if not self.key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vm", "-f", self.key)
        recipe = self.recipe()
        image = self.directory / f"image-{digest(recipe)[:12]}"
        if (image / "disk.img").exists():
            return image
        for older in self.directory.glob("image-*"):
            shutil.rmtree(older)
        self._say("making a root file system with a kernel, once: three to five minutes")
        root = self.directory / "root"
        shutil.rmtree(root, ignore_errors=True)
        bootstrap(recipe, root, Path("~/.cache/cloudbang/debian").expanduser(), self._say)
        self._configure(root)
        making = self.directory / "making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        for name in ("vmlinuz", "initrd.img"):
            shutil.copyfile(next((root / "boot").glob(f"{name}-*")), making / name)
        disk = making / "disk.img"
        with disk.open("wb") as stream:
            stream.truncate(DISK_GIB << 30)
        self._say("writing the disk")
        run("mke2fs", "-q", "-t", "ext4", "-d", root, disk)
        shutil.rmtree(root)
        making.rename(image)
        return image

    def _configure(self, root: Path) -> None:
        files = {
            "etc/hostname": "node1\n",
            "etc/hosts": f"127.0.0.1 localhost\n{ADDRESS} node1\n",
            "etc/fstab": "/dev/vda / ext4 defaults 0 0\n",
            "etc/systemd/network/10-eth0.network": NETWORK,
            "etc/resolv.conf": f"nameserver {GATEWAY}\n",
            "root/.ssh/authorized_keys": self.key.with_suffix(".pub").read_text(),
        }
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(mode=0o700 if ".ssh" in name else 0o755, parents=True, exist_ok=True)
            path.write_text(text)
        for target, unit in (("multi-user", "systemd-networkd"), ("network-online", "systemd-networkd-wait-online")):
            wants = root / f"etc/systemd/system/{target}.target.wants"
            wants.mkdir(parents=True, exist_ok=True)
            (wants / f"{unit}.service").symlink_to(f"/usr/lib/systemd/system/{unit}.service")
        host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"{ADDRESS} {' '.join(host_key)}\n")

    @contextlib.contextmanager
    def booted(self) -> Iterator[None]:
        """Boot the machine on a fresh copy of the disk, and remove it at the end."""
        image = self.build()
        self.stop()
        disk = self.directory / "disk.img"
        run("cp", "--sparse=always", "--reflink=auto", image / "disk.img", disk)
        self._network()
        try:
            run(
                "qemu-system-x86_64",
                *("-accel", "tcg,thread=multi" if ACCELERATOR == "tcg" else ACCELERATOR),
                *("-cpu", "max", "-smp", str(os.cpu_count() or 1), "-m", str(MEMORY_MIB)),
                *("-kernel", image / "vmlinuz", "-initrd", image / "initrd.img"),
                *("-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 panic=-1"),
                *("-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"),
                *("-netdev", f"tap,id=net0,ifname={INTERFACE},script=no,downscript=no"),
                *("-device", "virtio-net-pci,netdev=net0", "-device", "virtio-rng-pci"),
                *("-display", "none", "-serial", f"file:{self.log}", "-pidfile", self._pid, "-daemonize"),
            )
            self.wait()
            yield
        finally:
            self.stop()
            disk.unlink(missing_ok=True)

    def _network(self) -> None:
        run("ip", "tuntap", "add", INTERFACE, "mode", "tap")
        run("ip", "address", "add", f"{GATEWAY}/{LENGTH}", "dev", INTERFACE)
        run("ip", "link", "set", INTERFACE, "up")

    def wait(self, seconds: float = BOOT_SECONDS) -> None:
        """Wait until the machine takes logins and systemd has started everything."""
        begin = time.monotonic()
        while True:
            with contextlib.suppress(RuntimeError):
                self.sh("systemctl is-system-running --wait || true")
                break
            if time.monotonic() - begin > seconds:
                raise RuntimeError(f"no login at {ADDRESS} after {seconds:.0f} s; see {self.log}")
            time.sleep(2)
        self._say(f"the machine is up after {time.monotonic() - begin:.0f} s")

    def sh(self, script: str) -> str:
        return run(
            "ssh", *SSH, "-i", self.key, "-o", f"UserKnownHostsFile={self.known_hosts}", f"root@{ADDRESS}", script
        )

    def reboot(self) -> None:
        before = self.sh("cat /proc/sys/kernel/random/boot_id")
        with contextlib.suppress(RuntimeError):
            self.sh("systemctl reboot")
        begin = time.monotonic()
        while time.monotonic() - begin < BOOT_SECONDS:
            with contextlib.suppress(RuntimeError):
                if self.sh("cat /proc/sys/kernel/random/boot_id") != before:
                    return self.wait()
            time.sleep(2)
        raise RuntimeError(f"the machine did not boot again; see {self.log}")

    def stop(self) -> None:
        """End the machine and remove its interface, also those of a run that was killed."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            pid = int(self._pid.read_text())
            if "qemu-system" in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
                while Path(f"/proc/{pid}").exists():
                    time.sleep(0.1)
        self._pid.unlink(missing_ok=True)
        if Path("/sys/class/net", INTERFACE).exists():
            run("ip", "link", "delete", INTERFACE)
