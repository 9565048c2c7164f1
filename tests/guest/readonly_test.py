# SPDX-License-Identifier: BSD-2-Clause
"""A disk that may only be read."""

import hashlib
import subprocess

from conftest import MIB


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_read_only_disk_can_be_read_and_nothing_else(place):
    place.image(64 * MIB)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", place.disk], check=True, timeout=60)
    before = digest(place.disk)
    place.serve(read_only=True)
    guest = place.boot()
    assert guest.run("cat /sys/block/vda/ro") == "1"
    guest.run("load ext4 && mount -t ext4 -o ro,noload /dev/vda /mnt && ls -d /mnt/lost+found && umount /mnt")
    for command in ("mount -t ext4 /dev/vda /mnt && touch /mnt/file",
                    "dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct",
                    "blkdiscard -l 1048576 /dev/vda", "blkdiscard -z -l 1048576 /dev/vda"):
        assert guest.try_run(command)[0] != 0, command
        guest.try_run("umount /mnt")
    guest.stop()
    assert digest(place.disk) == before
