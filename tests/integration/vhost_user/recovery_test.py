# SPDX-License-Identifier: BSD-2-Clause
"""The server is killed with requests in flight and started again: the front end keeps the in-flight area and sees every
request answered exactly once."""
import os
import random
import struct
import threading

import pytest
from frontend import OK, SET_INFLIGHT_FD, T_OUT, Closed
from survivor import restart


@pytest.mark.parametrize('kind', ['split', 'packed'])
def test_requests_in_flight_are_answered_by_the_next_server(serve, survivor, kind):
    """The delay keeps them in flight; without the list in the area they would be lost."""
    server = serve(device='delay:[mem:64MiB],read=2s,write=2s')
    one = survivor(server, kind, 64)
    sent = {one.ring.request(T_OUT, i * 8, data=bytes([i]) * 512) for i in range(5)}
    one.ring.publish()
    one.ring.kick()
    step = 16 if kind == 'split' else 32  # of the area: where each request says that it is in flight
    while sum(os.pread(one.area[0], 1, step * (1 + i))[0] for i in range(64)) < len(sent):
        pass
    server.command = [word.replace('=2s', '=1us') for word in server.command]
    restart(server, one)
    assert {one.ring.finish()[0] for _ in sent} == sent
    assert one.ring.take() is None
    assert one.ring.write(0, b'x' * 512) == OK


@pytest.mark.parametrize('kind', ['split', 'packed'])
@pytest.mark.parametrize('device', ['mem:64MiB', 'file'])
def test_killed_at_random_instants_under_load(serve, survivor, folder, kind, device):
    """Each request writes a number of its own to a block of its own; what was answered must be on the disk (of the file)."""
    if device == 'file':
        device = f'file:{folder}/disk.img,create=4MiB'
    server = serve(device=device)
    one = survivor(server, kind, 32)
    rng = random.Random(4)
    acknowledged, waiting, number = {}, {}, 0
    for kill in range(20):
        killer = threading.Timer(rng.random() * 0.02, server.kill)
        killer.start()
        mark = one.memory.used
        while killer.is_alive() or (server.child.poll() is None):
            room = 8 - len(waiting)
            for _ in range(room):
                block = rng.choice([b for b in range(64) if b not in {w[0] for w in waiting.values()}])
                number += 1
                if not waiting:
                    one.memory.used = mark
                head = one.ring.request(T_OUT, block * 8, data=struct.pack('<Q', number) * 512)
                waiting[head] = (block, number)
            one.ring.publish()
            one.ring.kick()
            collect(one, waiting, acknowledged)
        killer.join()
        collect(one, waiting, acknowledged)
        one.front.close()
        server.start()
        one.connect()
        while waiting:
            assert one.ring.wait()
            collect(one, waiting, acknowledged)
        if device.startswith('file'):
            for block, value in acknowledged.items():
                status, data = one.ring.read(block * 8, 4096)
                assert (status, struct.unpack('<Q', data[:8])[0]) == (OK, value)
        one.memory.used = mark
    assert number > 20


def collect(one, waiting, acknowledged):
    while (head := one.ring.take()) is not None:
        at, _ = one.ring.pending.pop(head)
        assert one.memory.get(at, 1)[0] == OK
        block, value = waiting.pop(head)
        acknowledged[block] = value


@pytest.mark.parametrize('kind', ['split', 'packed'])
def test_a_stopped_ring_leaves_nothing_in_flight(serve, survivor, kind):
    server = serve()
    one = survivor(server, kind, 16)
    for i in range(40):
        assert one.ring.write(i, b's' * 512) == OK
    one.ring.base = one.ring.stop()
    one.ring.start()
    restart(server, one)
    assert one.ring.take() is None
    assert one.ring.write(0, b's' * 512) == OK


@pytest.mark.parametrize('kind', ['split', 'packed'])
def test_an_area_that_was_asked_for_first_of_all_holds_either_kind(serve, survivor, kind):
    """Before it was said which kind of ring it will be."""
    server = serve()
    with server.connect() as front:
        area = front.inflight(1, 64)
        front.fds = []
    one = survivor(server, kind, 64, area)
    assert one.ring.write(0, b'a' * 512) == OK
    assert os.pread(area[0], 2, 8) == b'\1\0', 'the area is not in use'


def test_a_ring_that_its_area_has_no_room_for_does_not_run(serve, survivor):
    """Untracked, it would lose what is in flight when the server is killed: that is said, and mended by the right area."""
    server = serve()
    one = survivor(server, 'packed', 64)
    short = struct.pack('<Q', 1024) + one.area[1][8:]
    assert one.front.tell(SET_INFLIGHT_FD, short, [one.area[0]]) == 0
    assert 'too short' in server.text()
    assert one.front.tell(SET_INFLIGHT_FD, one.area[1], [one.area[0]]) == 0
    assert one.ring.write(0, b'a' * 512) == OK


def test_a_damaged_area_is_refused_politely(serve, survivor):
    """Its ring does not run; the server, and another ring, go on."""
    server = serve()
    one = survivor(server, 'split', 16)
    assert one.ring.write(0, b'd' * 512) == OK
    one.ring.stop()
    size = os.fstat(one.area[0]).st_size
    for junk in (b'\xff' * size, bytes(range(256)) * (size // 256 + 1), os.urandom(size)):
        os.pwrite(one.area[0], junk[:size], 0)
        one.ring.base = one.ring.avail
        try:
            one.ring.start()
            one.ring.stop()
        except Closed:
            one.connect()
    os.pwrite(one.area[0], bytes(size), 0)
    one.ring.base = one.ring.avail
    one.ring.start()
    assert one.ring.write(0, b'd' * 512) == OK
