# SPDX-License-Identifier: BSD-2-Clause
"""A machine moves to another QEMU process while it reads, writes and verifies; one server, a socket for each process."""

import hashlib
import os
import subprocess

import pytest

from conftest import MIB
from guestlib import load

FILE = 32 * MIB


def file_system_with_file(place):
    """An ext4 file system on the first 128 MiB of the image, with a file of random data; returns its digest."""
    folder = place.path("files")
    os.mkdir(folder)
    data = os.urandom(FILE)
    with open(os.path.join(folder, "file"), "wb") as file:
        file.write(data)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", "-d", folder, place.image(), "128M"], check=True, timeout=60)
    return hashlib.sha256(data).hexdigest()


def state(guest):
    return guest.qmp("query-migrate")


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_machine_moves_while_it_verifies(place, packed):
    digest = file_system_with_file(place)
    place.serve("a.sock", "b.sock")
    route = "unix:" + place.path("route.sock")
    source = place.boot("a.sock", packed=packed, fio=True)
    target = place.boot("b.sock", packed=packed, fio=True, incoming=route)
    source.run("load ext4 && mount -o ro /dev/vda /mnt")
    running = load.Load(source, offset="256M")

    # The migration must not end before the test wants it to. Memory that changes faster than it is sent sees to that; on a busy
    # machine it may not, so that, once all was sent, the rest goes slowly: what may be left for the end is then less than a page.
    source.run("dd if=/dev/urandom of=/dev/shm/a bs=1M count=32")
    dirtier = source.start("while :; do dd if=/dev/shm/a of=/dev/shm/b bs=1M conv=notrunc; done")
    source.qmp("migrate-set-parameters", downtime_limit=1, max_bandwidth=100 * MIB)
    source.qmp("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    source.qmp("migrate", uri=route)
    while source.qmp.wait_event("MIGRATION_PASS")["pass"] < 2:  # all memory was sent once
        pass
    source.qmp("migrate-set-parameters", max_bandwidth=MIB)
    assert state(source)["status"] == "active"
    # The disk writes to memory that was sent already, and that no processor touches: only the server's log of it
    # can tell QEMU to send it again.
    source.run("cat /mnt/file > /dev/null")
    running.wait_progress(200)
    assert state(source)["status"] == "active"
    dirtier.interrupt("KILL")
    source.qmp("migrate-set-parameters", downtime_limit=2000, max_bandwidth=10000 * MIB)
    while source.qmp.wait_event("MIGRATION")["status"] not in ("completed", "failed"):
        pass
    assert state(source)["status"] == "completed", state(source)

    target.take_over(source)
    source.kill()
    assert target.run("sha256sum < /mnt/file").split()[0] == digest, "a page in memory is not what the disk put there"
    running.guest = running.job.guest = target
    running.wait_progress(200)
    running.finish()
    target.stop()
