# SPDX-License-Identifier: BSD-2-Clause
"""Drivers that put nonsense into their rings: the ring is stopped and its error descriptor signalled, or the request fails."""
import os
import random
import struct

import pytest
from frontend import (INDIRECT, NEXT, OK, RESET_DEVICE, SET_VRING_ENABLE, T_FLUSH, T_IN, T_OUT, WRITE, F_INDIRECT,
    GET_STATUS, P_ALL,
                      PackedRing, SplitRing)


@pytest.fixture
def bystander(serve, client):
    server = serve(options=',clients=8')
    c = client(server)
    yield server, c
    assert c.works()


def header(c):
    at = c.memory.take(32)
    c.memory.put(at, struct.pack('<IIQ', T_OUT, 0, 0) + bytes(16))
    return c.memory.gpa + at


def loop(c, ring):
    at = header(c)
    ring.put_desc(0, at, 16, NEXT, 1)
    ring.put_desc(1, at, 16, NEXT, 0)
    ring.offer(0)


def loop_to_itself(c, ring):
    ring.put_desc(5, header(c), 16, NEXT, 5)
    ring.offer(5)


def next_beyond(c, ring):
    ring.put_desc(0, header(c), 16, NEXT, ring.num)
    ring.offer(0)


def head_beyond(c, ring):
    ring.offer(60000)


def index_jumps(c, ring):
    ring.avail += ring.num + 1


def index_goes_back(c, ring):
    ring.avail = (ring.avail - 1) % 65536


def unmapped(c, ring):
    ring.put_desc(0, 0xdead0000, 16, 0, 0)
    ring.offer(0)


def end_of_address_space(c, ring):
    ring.put_desc(0, (1 << 64) - 8, 16, 0, 0)
    ring.offer(0)


def longer_than_memory(c, ring):
    ring.put_desc(0, c.memory.gpa + c.memory.size - 8, 16, 0, 0)
    ring.offer(0)


def four_gigabytes(c, ring):
    ring.put_desc(0, c.memory.gpa, 0xffffffff, 0, 0)
    ring.offer(0)


def no_bytes(c, ring):
    ring.put_desc(0, header(c), 0, 0, 0)
    ring.offer(0)


def readable_after_writable(c, ring):
    at = header(c)
    ring.put_desc(0, at, 16, WRITE | NEXT, 1)
    ring.put_desc(1, at, 16, 0, 0)
    ring.offer(0)


def indirect_unmapped(c, ring):
    ring.put_desc(0, 0xdead0000, 32, INDIRECT, 0)
    ring.offer(0)


def indirect_odd_length(c, ring):
    ring.put_desc(0, header(c), 17, INDIRECT, 0)
    ring.offer(0)


def indirect_in_indirect(c, ring):
    at = c.memory.take(16)
    c.memory.put(at, struct.pack('<QIHH', c.memory.gpa + at, 16, INDIRECT, 0))
    ring.put_desc(0, c.memory.gpa + at, 16, INDIRECT, 0)
    ring.offer(0)


def indirect_loop(c, ring):
    at = c.memory.take(32)
    c.memory.put(at, struct.pack('<QIHH', header(c), 16, NEXT, 1) + struct.pack('<QIHH', header(c), 16, NEXT, 0))
    ring.put_desc(0, c.memory.gpa + at, 32, INDIRECT, 0)
    ring.offer(0)


def indirect_huge(c, ring):
    at = header(c)
    ring.put_desc(0, at, 0xfffffff0, INDIRECT, 0)
    ring.offer(0)


BREAKS = [loop, loop_to_itself, next_beyond, head_beyond, index_jumps, index_goes_back, unmapped,
    end_of_address_space, longer_than_memory,
          four_gigabytes, indirect_unmapped, indirect_odd_length, indirect_in_indirect, indirect_loop, indirect_huge]
MAY_FAIL = [no_bytes, readable_after_writable]


@pytest.mark.parametrize('harm', BREAKS + MAY_FAIL)
def test_a_broken_ring_is_stopped(bystander, client, harm):
    server, _ = bystander
    c = client(server, features=F_INDIRECT, protocol=P_ALL)
    assert c.works()
    harm(c, c.ring)
    c.ring.publish()
    c.ring.kick()
    if harm in BREAKS:
        assert c.ring.wait(c.ring.err_fd), 'the error descriptor was not signalled'
        assert c.front.ask_u64(GET_STATUS) & 0x40
    assert c.front.tell(RESET_DEVICE) == 0
    assert c.front.ask_u64(GET_STATUS) == 0
    c.ring.close()
    c.rings[0] = c.ring = SplitRing(c.front, c.memory).start()
    assert c.works(), 'a ring that was set up anew works'


def test_the_other_rings_of_a_client_go_on(bystander, client):
    c = client(bystander[0], queues=3)
    for ring in c.rings:
        assert ring.write(0, b'o' * 512) == OK
    head_beyond(c, c.rings[1])
    c.rings[1].publish()
    c.rings[1].kick()
    assert c.rings[1].wait(c.rings[1].err_fd)
    for ring in (c.rings[0], c.rings[2]):
        assert ring.write(0, b'o' * 512) == OK


def test_packed_ring_with_a_chain_without_end(bystander, client):
    c = client(bystander[0], kind='packed', num=8)
    assert c.works()
    at = c.memory.gpa + c.memory.take(16)
    for i in range(8):
        flags = NEXT | (PackedRing.AVAIL if c.ring.wrap else PackedRing.USED)
        c.memory.put(c.ring.desc + 16 * c.ring.at, struct.pack('<QIHH', at, 16, 1, flags))
        c.ring.at += 1
        if c.ring.at == c.ring.num:
            c.ring.at, c.ring.wrap = 0, not c.ring.wrap
    c.ring.kick()
    c.front.tell_state(SET_VRING_ENABLE, 0, 1)


@pytest.mark.parametrize('kind', ['split', 'packed'])
@pytest.mark.parametrize('seed', range(10))
def test_rings_full_of_random_bytes(bystander, client, kind, seed):
    c = client(bystander[0], kind=kind, start=False, num=16, features=F_INDIRECT)
    rng = random.Random(seed)
    size = c.memory.used
    for _ in range(30):
        c.memory.put(0, rng.randbytes(size))
        if rng.random() < 0.5: # addresses that are mapped, so that more of it is believed
            for i in range(16):
                c.memory.put(c.ring.desc + 16 * i, struct.pack('<QI', c.memory.gpa + rng.randrange(1 << 20), rng.randrange(4096)))
        base = rng.randrange(1 << 16) | (rng.randrange(1 << 16) << 16 if kind == 'packed' else 0)
        c.ring.base = base
        try:
            c.ring.start()
        except AssertionError:
            continue
        c.ring.kick()
        c.ring.stop()


def test_kicks_without_work(bystander, client):
    c = client(bystander[0])
    for _ in range(1000):
        c.ring.kick()
    assert c.works()


def test_a_full_kick_counter(bystander, client):
    """The driver fills the counters of its descriptors: a signal to a full one must not block us."""
    c = client(bystander[0])
    assert c.works()
    while c.ring.wait(seconds=0):
        pass
    os.eventfd_write(c.ring.call_fd, (1 << 64) - 2)
    c.ring.request(T_FLUSH)
    c.ring.publish()
    c.ring.kick()
    assert c.ring.finish()[1] == OK
    assert c.works()


def test_descriptors_that_change_while_they_are_read(bystander, client):
    """A driver flips a descriptor between two values, as fast as it can, while requests are served."""
    c = client(bystander[0])
    at = c.memory.take(16 + 4096 + 1)
    for i in range(300):
        c.memory.put(at, struct.pack('<IIQ', T_IN, 0, 0))
        c.ring.put_desc(0, c.memory.gpa + at, 16, NEXT, 1)
        c.ring.put_desc(1, c.memory.gpa + at + 16, 4096, NEXT | WRITE, 2)
        c.ring.put_desc(2, c.memory.gpa + at + 16 + 4096, 1, WRITE, 0)
        c.ring.offer(0)
        c.ring.publish()
        c.ring.kick()
        for _ in range(20):
            c.ring.put_desc(1, 0xdead0000, 4096, NEXT | WRITE, 2)
            c.ring.put_desc(1, c.memory.gpa + at + 16, 4096, NEXT | WRITE, i % 3)
        if c.ring.wait(c.ring.err_fd, 0):
            break
