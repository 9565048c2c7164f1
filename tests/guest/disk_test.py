# SPDX-License-Identifier: BSD-2-Clause
"""What a kernel does with its disk in ordinary life, on each kind of ring. One boot for each kind serves all tests."""

import os

import pytest

from conftest import MIB
from guestlib import load

RINGS = {"split": (1, False), "packed-four-queues": (4, True)}
PACKED = 34  # VIRTIO_F_RING_PACKED
PATTERN = "yes weft | head -c 1048576"  # a MiB that is not zero


class Vm:
    """A guest with the server behind its disk."""

    def __init__(self, place, queues, packed):
        self.place, self.queues, self.packed = place, queues, packed
        place.image()
        self.server = place.serve(queues=queues)
        self.guest = place.boot(queues=queues, packed=packed, fio=True, lifetime=900)
        self.run = self.guest.run

    def used(self):
        """Bytes that the image takes up on the host."""
        return os.stat(self.place.disk).st_blocks * 512


@pytest.fixture(scope="module", params=RINGS)
def vm(request, shared_place):
    place = shared_place()
    place.need(only_weft=request.param != "split")
    return Vm(place, *RINGS[request.param])


def test_the_kernel_got_the_queues_and_the_ring_it_was_promised(vm):
    assert len(vm.run("ls /sys/block/vda/mq").split()) == vm.queues
    features = vm.run("cat /sys/block/vda/device/features")
    assert features[PACKED] == ("1" if vm.packed else "0")


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_files_are_the_same_after_a_remount(vm, kind):
    force = "-F" if kind == "ext4" else "-f"
    vm.run(f"load {kind} && mkfs.{kind} -q {force} /dev/vda && mount /dev/vda /mnt")
    vm.run("cd /mnt && for i in $(seq 40); do mkdir -p d$((i % 7)) && "
           "dd if=/dev/urandom of=d$((i % 7))/f$i bs=1000 count=$((i * 7)) 2>/dev/null || exit; done")
    vm.run("cd /mnt && find . -type f | sort | xargs sha256sum > /tmp/sums && wc -l < /tmp/sums | grep -qx 40")
    vm.run("umount /mnt && echo 3 > /proc/sys/vm/drop_caches && mount /dev/vda /mnt")
    vm.run("cd /mnt && sha256sum -c /tmp/sums && cd / && umount /mnt")
    assert vm.guest.block_errors() == []


def test_fstrim_frees_the_space_of_deleted_files_in_the_image(vm):
    vm.run("load ext4 && mkfs.ext4 -q -F /dev/vda && mount /dev/vda /mnt")
    vm.run("dd if=/dev/urandom of=/mnt/big bs=1M count=48 && sync")
    full = vm.used()
    assert full >= 48 * MIB
    vm.run("rm /mnt/big && sync && fstrim /mnt && umount /mnt")
    assert vm.used() <= full - 40 * MIB


def test_every_block_reads_back_as_written(vm):
    output = vm.run(
        "fio --name=verify --filename=/dev/vda --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite --bs=4k "
        f"--size=8M --offset_increment=8M --numjobs={vm.queues} --verify=crc32c --verify_fatal=1 --group_reporting")
    assert "err= 0" in output
    assert vm.guest.block_errors() == []


def test_zeroed_blocks_read_as_zeros_and_their_neighbours_stay(vm):
    vm.run(f"for i in 0 1 2; do {PATTERN} | dd of=/dev/vda bs=1M seek=$i oflag=direct iflag=fullblock; done")
    vm.run("blkdiscard -z -o 1048576 -l 1048576 /dev/vda")
    vm.run(f"{PATTERN} > /tmp/pattern && head -c 1048576 /dev/zero > /tmp/zeros && echo 3 > /proc/sys/vm/drop_caches")
    for mib, file in ((0, "pattern"), (1, "zeros"), (2, "pattern")):
        vm.run(f"dd if=/dev/vda bs=1M skip={mib} count=1 | cmp - /tmp/{file}")


def test_discarded_blocks_are_given_back_to_the_host(vm):
    vm.run("dd if=/dev/urandom of=/dev/vda bs=1M seek=64 count=16 oflag=direct")
    before = vm.used()
    vm.run(f"blkdiscard -o {64 * MIB} -l {16 * MIB} /dev/vda")
    assert vm.used() <= before - 16 * MIB


def test_the_write_cache_can_be_switched_off_and_on(vm):
    vm.place.need(only_weft=True)
    assert vm.run("cat /sys/block/vda/cache_type") == "write back"
    for kind in ("write through", "write back"):
        vm.run(f"echo '{kind}' > /sys/block/vda/cache_type")
        assert vm.run("cat /sys/block/vda/cache_type") == kind
        vm.run(f"{PATTERN} | dd of=/dev/vda bs=64k conv=fsync && dd if=/dev/vda bs=1M count=1 | md5sum")
    assert vm.guest.block_errors() == []


def test_the_disk_has_a_serial_number(vm):
    assert vm.run("cat /sys/block/vda/serial") != ""


def test_the_reactor_changes_its_mode_under_load(vm):
    vm.place.need(only_weft=True)
    running = load.Load(vm.guest, jobs=vm.queues)
    for mode in ("poll", "notify", "adaptive", "notify", "poll", "adaptive"):
        vm.server.control("mode", mode)
        running.wait_progress(200)
    running.finish()


def test_layers_come_and_go_under_load(vm):
    vm.place.need(only_weft=True)
    running = load.Load(vm.guest, jobs=vm.queues)
    for _ in range(3):
        vm.server.control("insert", "delay:all=1ms")
        running.wait_progress(50)
        vm.server.control("insert", "limit:iops=2000")
        running.wait_progress(50)
        vm.server.control("remove", "delay")
        running.wait_progress(50)
        vm.server.control("remove", "limit")
        running.wait_progress(200)
    running.finish()


def test_waiting_requests_are_shown_with_the_layer_that_holds_them(vm):
    vm.place.need(only_weft=True)
    vm.server.control("insert", "delay:read=2s")
    reading = vm.guest.start("dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct")
    vm.guest.wait_for("grep -q '^ *1 ' /sys/block/vda/inflight")
    shown = vm.server.control("requests")
    assert "READ" in shown and "delay" in shown
    reading.wait()
    vm.server.control("remove", "delay")


def test_the_kernel_notices_a_new_size_and_uses_it(vm):
    vm.place.need(only_weft=True)  # 7.2 of the stand-in tells its guests nothing
    size = int(vm.run("blockdev --getsize64 /dev/vda")) + 64 * MIB
    running = load.Load(vm.guest, jobs=vm.queues)
    vm.server.control("resize", str(size))
    vm.guest.wait_for(f"[ $(blockdev --getsize64 /dev/vda) = {size} ]")
    running.finish()
    vm.run(f"dd if=/dev/urandom of=/tmp/end bs=1M count=1 && dd if=/tmp/end of=/dev/vda bs=1M seek={size // MIB - 1}")
    vm.run(f"sync; echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=1M skip={size // MIB - 1} | cmp - /tmp/end")
    assert os.stat(vm.place.disk).st_size == size
