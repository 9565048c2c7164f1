# SPDX-License-Identifier: BSD-2-Clause
"""The disk under the image is full: the guest's writes fail, one by one, and succeed when there is room again."""

import os
import subprocess

import pytest

from conftest import MIB

# A small file system of the server's own, so that neither root nor this machine's disks are needed to fill it.
SCRIPT = 'mount -t tmpfs -o size=$1 tmpfs "$0" && truncate -s $2 "$0/disk.img" && shift 2 && exec "$@"'
SPACE = 32 * MIB
FILLER = 12 * MIB


def own_mounts():
    wrapper = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--user", "--map-root-user"])
    if subprocess.run([*wrapper, "true"], stderr=subprocess.DEVNULL, timeout=30, check=False).returncode:
        pytest.skip("no mount namespace of one's own on this machine")
    return wrapper


def test_writes_to_a_full_disk_fail_and_go_on_when_there_is_room(place):
    small = place.path("small")
    os.mkdir(small)
    place.disk = os.path.join(small, "disk.img")
    server = place.serve(wrapper=[*own_mounts(), "sh", "-c", SCRIPT, small, str(SPACE), str(256 * MIB)])
    # Only the server sees that file system; its root folder is the way in.
    filler = f"/proc/{server.child.pid}/root{small}/filler"
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, FILLER)
    guest = place.boot()
    guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=8")
    guest.run("dd if=/tmp/data of=/dev/vda bs=1M oflag=direct")

    def write_all():
        """Statuses of 20 writes of 1 MiB each, behind what is there."""
        return guest.run("for i in $(seq 0 19); do dd if=/tmp/data of=/dev/vda bs=1M skip=$((i % 8)) count=1 "
                         "seek=$((64 + i)) oflag=direct 2>/dev/null; echo $?; done").split()

    statuses = write_all()
    assert statuses.count("0") >= (SPACE - FILLER) // MIB - 8 - 2, "what has room is written"
    assert statuses[-1] != "0", "what has no room is refused"
    assert "I/O error, dev vda" in guest.run("dmesg")
    guest.run("dd if=/dev/vda bs=1M count=8 iflag=direct | cmp - /tmp/data")

    os.unlink(filler)
    guest.run("dmesg -c > /dev/null")
    assert write_all() == ["0"] * 20
    for part in (64, 72):
        guest.run(f"dd if=/dev/vda bs=1M skip={part} count=8 iflag=direct | cmp - /tmp/data")
    assert guest.block_errors() == []
    assert server.running()
    guest.stop()
