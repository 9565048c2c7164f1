# SPDX-License-Identifier: BSD-2-Clause
"""Disks of several kinds, in one machine, which boots once for all tests here."""

import hashlib
import os
import subprocess
import tempfile

import pytest

from conftest import MIB
from guestlib import load

DEPTH = 1024  # entries of each ring


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Vm:
    """A machine with a disk from each of several servers: `disk` tells the name that each has in it."""

    def __init__(self, make_place, folder_in_memory):
        self.places, self.disk = {}, {}
        for kind in ("readonly", "pinned", "memory", "long"):
            self.places[kind] = place = make_place()
            place.need(only_weft=True)
            self.disk[kind] = "vd" + "abcd"[len(self.disk)]
        self.places["memory"].disk = os.path.join(folder_in_memory, "disk.img")
        for place in self.places.values():
            place.image(64 * MIB)
        subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", self.places["readonly"].disk], check=True, timeout=60)
        self.before = digest(self.places["readonly"].disk)
        self.places["readonly"].serve(read_only=True)
        self.places["pinned"].serve(export={"pin": "on"})
        self.places["memory"].serve()
        self.places["long"].serve(export={"queue-size": str(DEPTH)})
        sockets = [place.path("vm.sock") for place in self.places.values()]
        self.guest = self.places["readonly"].boot(*sockets, depth=DEPTH, fio=True)
        self.run, self.place = self.guest.run, self.places["readonly"]


@pytest.fixture(scope="module")
def vm(shared_place):
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="weft-") as folder:  # where files cannot be written directly
        yield Vm(shared_place, folder)


def test_a_read_only_disk_can_be_read_and_nothing_else(vm):
    disk = vm.disk["readonly"]
    assert vm.run(f"cat /sys/block/{disk}/ro") == "1"
    vm.run(f"load ext4 && mount -t ext4 -o ro,noload /dev/{disk} /mnt && ls -d /mnt/lost+found && umount /mnt")
    for command in (f"mount -t ext4 /dev/{disk} /mnt && touch /mnt/file",
                    f"dd if=/dev/zero of=/dev/{disk} bs=4k count=1 oflag=direct",
                    f"blkdiscard -l 1048576 /dev/{disk}", f"blkdiscard -z -l 1048576 /dev/{disk}"):
        assert vm.guest.try_run(command)[0] != 0, command
        vm.guest.try_run("umount /mnt")
    vm.run("dmesg -c > /dev/null")
    assert digest(vm.places["readonly"].disk) == vm.before


@pytest.mark.parametrize("kind", ["pinned", "memory"])
def test_every_block_reads_back(vm, kind):
    """Into pinned memory, as far as the limit of locked memory allows; and from a file in memory."""
    running = load.Load(vm.guest, device=vm.disk[kind])
    running.wait_progress(500)
    running.finish()


def test_a_ring_of_1024_entries_takes_requests_of_1022_segments(vm):
    disk = vm.disk["long"]
    assert vm.run(f"cat /sys/block/{disk}/queue/max_segments") == "1022"
    assert vm.run(f"cat /sys/block/{vm.disk['pinned']}/queue/max_segments") == "126"
    vm.run(f"echo 4088 > /sys/block/{disk}/queue/max_sectors_kb")  # a page for each segment
    vm.run(f"dd if=/dev/urandom of=/tmp/pattern bs=1M count=32 && dd if=/tmp/pattern of=/dev/{disk} bs=8M oflag=direct")
    vm.run(f"dd if=/dev/{disk} bs=8M count=4 iflag=direct | cmp - /tmp/pattern")
    assert vm.guest.block_errors() == []


def test_all_of_them_came_to_no_harm(vm):
    vm.guest.stop()
    assert all(place.servers[0].stop() == 0 for place in vm.places.values())
