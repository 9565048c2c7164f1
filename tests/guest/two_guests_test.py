# SPDX-License-Identifier: BSD-2-Clause
"""One server, one disk, two machines at two sockets. Both boot once, for all tests here, which run in this order."""

import pytest

from guestlib import load


class Pair:
    """Two guests, named as their sockets are."""

    def __init__(self, place):
        self.place = place
        place.image()
        self.server = place.serve("a.sock", "b.sock")
        self.a = place.boot("a.sock", fio=True, wait=False)
        self.b = place.boot("b.sock", fio=True, wait=False)
        self.a.wait_booted()
        self.b.wait_booted()


@pytest.fixture(scope="module")
def pair(shared_place):
    return Pair(shared_place())


def test_each_guest_reads_what_the_other_wrote(pair):
    for number, (writer, reader) in enumerate(((pair.a, pair.b), (pair.b, pair.a))):
        writer.run(f"dd if=/dev/urandom of=/tmp/x bs=64k count=1 && "
                   f"dd if=/tmp/x of=/dev/vda bs=64k seek={number} oflag=direct")
        wrote = writer.run("sha256sum < /tmp/x")
        assert reader.run(f"dd if=/dev/vda bs=64k skip={number} count=1 iflag=direct 2>/dev/null | sha256sum") == wrote


def test_both_guests_verify_at_once(pair):
    both = [load.Load(pair.a, offset="64M"), load.Load(pair.b, offset="128M")]
    for one in both:
        one.wait_progress(200)
    for one in both:
        one.finish()


def test_a_frozen_guest_does_not_hold_up_the_other(pair):
    frozen, other = load.Load(pair.a, offset="64M"), load.Load(pair.b, offset="128M")
    pair.a.pause()
    other.wait_progress(500)
    pair.a.resume()
    frozen.wait_progress(100)
    frozen.finish()
    other.finish()


def test_a_guest_that_dies_does_not_disturb_the_other(pair):
    load.Load(pair.a, offset="64M")
    other = load.Load(pair.b, offset="128M")
    pair.a.kill()
    other.wait_progress(500)
    other.finish()
    assert pair.server.running()
