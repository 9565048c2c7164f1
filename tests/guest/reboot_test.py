# SPDX-License-Identifier: BSD-2-Clause
"""Machines that begin anew on a disk whose server runs on."""

from guestlib import load


def test_a_machine_reset_under_load_finds_its_data_and_goes_on(place):
    place.image()
    place.serve()
    guest = place.boot(fio=True, reboots=True)
    guest.run("load ext4 && mkfs.ext4 -q /dev/vda 128M && mount /dev/vda /mnt")
    guest.run("dd if=/dev/urandom of=/mnt/file bs=1M count=8 && sync")
    before = guest.run("sha256sum /mnt/file")
    load.Load(guest, offset="256M").wait_progress(100)
    guest.reset()
    guest.run("load ext4 && mount /dev/vda /mnt")
    assert guest.run("sha256sum /mnt/file") == before
    running = load.Load(guest, offset="256M")
    running.wait_progress(200)
    running.finish()
    guest.stop()
