# SPDX-License-Identifier: BSD-2-Clause
"""Servers and guests for the tests; whatever a test starts is ended, and speaks, when the test is over."""

import os
import random
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from guestlib import machine, server  # noqa: E402

STAND_IN = os.environ.get("WEFT_GUEST_SERVER") == "qemu-storage-daemon"
SOAK = os.environ.get("WEFT_SOAK") == "1"
MIB = 1 << 20


class Place:
    """A folder with a disk image, the servers that serve it and the guests that use it."""

    def __init__(self, folder, stand_in=STAND_IN):
        self.folder = str(folder)
        self.stand_in = stand_in
        self.disk = self.path("disk.img")
        self.servers = []
        self.guests = []
        self.seed = int(os.environ.get("WEFT_SEED", 0)) or random.SystemRandom().randrange(1, 1 << 32)

    def path(self, name):
        return os.path.join(self.folder, name)

    def image(self, size=512 * MIB):
        """A sparse disk image."""
        with open(self.disk, "ab") as file:
            file.truncate(size)
        return self.disk

    def serve(self, *sockets, queues=1, wrapper=(), export=None, **options):
        """Start a server; each socket is a name, by default there is one, vm.sock; export: options of each export."""
        self.need(only_weft=bool(export or set(options) - {"read_only"}))
        ports = [server.Socket(self.path(name), queues, **(export or {})) for name in sockets or ["vm.sock"]]
        if self.stand_in:
            served = server.StorageDaemon(self.disk, ports, wrapper, **options)
        else:
            if "read_only" in options:
                options["readonly"] = "on" if options.pop("read_only") else "off"
            served = server.Weft(self.disk, ports, wrapper, **options)
        self.servers.append(served)
        return served.start()

    def boot(self, *sockets, queues=1, packed=False, depth=128, **options):
        """Boot a guest with a disk for each socket (by default vm.sock); depth: entries of its rings."""
        self.need(only_weft=packed)
        disks = [machine.Disk(self.path(name), queues, packed, depth) for name in sockets or ["vm.sock"]]
        options.setdefault("cpus", max(2, queues))
        guest = machine.Guest(self.folder, disks, **options)
        self.guests.append(guest)
        return guest

    def need(self, only_weft):
        if only_weft and self.stand_in:
            pytest.skip("the stand-in, qemu-storage-daemon, cannot do this")

    def report(self):
        """What there is to know when a test has failed."""
        parts = [f"WEFT_SEED={self.seed}"]
        for served in self.servers:
            parts.append(f"{served.log()}({'runs' if served.running() else 'does not run'})")
            if served.running() and isinstance(served, server.Weft):
                try:
                    parts.append("--- waiting requests\n" + served.control("requests"))
                except Exception as error:  # pylint: disable=broad-except
                    parts.append(f"--- waiting requests: {error}")
        parts += [guest.console() for guest in self.guests]
        return "\n".join(parts)

    def close(self):
        for guest in self.guests:
            guest.kill()
        for served in self.servers:
            served.kill()


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory):
    """Makes places whose guests serve all tests of a module: one boot for many facts."""
    made = []

    def make():
        made.append(Place(tmp_path_factory.mktemp("guest")))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if not report.failed or not hasattr(report.longrepr, "addsection"):
        return
    for value in getattr(item, "funcargs", {}).values():
        found = getattr(value, "place", value)
        if isinstance(found, Place):
            report.longrepr.addsection("servers and guests", found.report())
