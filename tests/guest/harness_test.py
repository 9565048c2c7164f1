# SPDX-License-Identifier: BSD-2-Clause
"""The harness itself: a guest on another server, and the files that guests boot from. Fails when weft is not to blame."""

import io
import struct
import subprocess
import time
import zlib

import pytest

from conftest import Place
from guestlib import cpio, image, kernel, machine, process


@pytest.fixture
def stand_in(tmp_path):
    """A place whose disks are served by qemu-storage-daemon."""
    made = Place(tmp_path, stand_in=True)
    yield made
    made.close()


def test_a_guest_boots_and_obeys(stand_in):
    stand_in.image()
    server = stand_in.serve()
    guest = stand_in.boot()
    assert guest.run("echo one; echo two >&2; cat /sys/block/vda/size") == "one\ntwo\n1048576"
    assert guest.try_run("exit 7") == (7, "")
    with pytest.raises(machine.Failed, match="exit status 1: false"):
        guest.run("false")
    assert len(guest.run("head -c 100000 /dev/zero | tr '\\0' x")) == 100000

    jobs = [guest.start(f"while [ ! -e /run/go ]; do :; done; echo it\\'s {number}") for number in range(3)]
    assert not any(job.ended() for job in jobs)
    guest.run("touch /run/go")
    assert [job.wait() for job in jobs] == ["it's 0", "it's 1", "it's 2"]

    assert server.connected()
    guest.stop()
    assert guest.child.returncode == 1, "status 0, as the debug exit device tells it"
    assert server.stop() == 0


def test_a_guest_that_hangs_is_ended_at_its_time(stand_in):
    stand_in.image()
    stand_in.serve()
    guest = stand_in.boot()
    guest.deadline = time.monotonic() + 1
    with pytest.raises(process.Expired, match="time is over"):
        guest.run("while :; do :; done")
    assert guest.child.returncode is not None


def test_an_archive_is_read_by_cpio():
    out = io.BytesIO()
    archive = cpio.Archive(out)
    archive.file("a/b/file", b"12345", 0o755)
    archive.link("a/link", "/b/file")
    archive.close()
    listed = subprocess.run(["cpio", "-itv"], input=out.getvalue(), capture_output=True, check=True, timeout=30)
    lines = [line.split() for line in listed.stdout.decode().splitlines()]
    assert [(line[0], line[4], line[8]) for line in lines] == [
        ("drwxr-xr-x", "0", "a"), ("drwxr-xr-x", "0", "a/b"), ("-rwxr-xr-x", "5", "a/b/file"),
        ("lrwxrwxrwx", "7", "a/link")]


def test_a_kernel_is_found_in_a_bzimage():
    inside = kernel.ELF + b"kernel" * 100
    packer = zlib.compressobj(wbits=31)
    payload = packer.compress(inside) + packer.flush() + struct.pack("<I", len(inside))
    setup = bytearray(5 * 512)
    setup[0x1f1] = 4
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", setup, 0x248, 16, len(payload))
    assert kernel.unpack_bzimage(bytes(setup) + bytes(16) + payload) == inside
    with pytest.raises(ValueError, match="cut short"):
        kernel.unpack_bzimage(bytes(setup) + bytes(16) + payload[:-1])


def test_modules_come_after_what_they_need():
    package = kernel.Package(image.cached_package())
    order = package.in_order(["virtio_pci", "virtio_blk", "ext4"])
    assert len(order) == len(set(order))
    assert order.index("virtio_ring") < order.index("virtio_pci") < order.index("virtio_blk")
    assert order.index("jbd2") < order.index("ext4")
