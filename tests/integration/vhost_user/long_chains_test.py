# SPDX-License-Identifier: BSD-2-Clause
"""Chains as long as their ring, of buffers that begin anywhere, and data of more than a gibibyte: far beyond what is advertised."""
import os
import struct

import pytest
from frontend import F_INDIRECT, GET_STATUS, INDIRECT, IOERR, NEXT, OK, P_ALL, SET_INFLIGHT_FD, T_IN, T_OUT, WRITE, PackedRing
from survivor import restart

KINDS = ['split', 'packed']
LONGEST = 32768


def scattered(gpa, size, pieces):
    """Adjacent buffers of a few bytes each; the last one has the rest. -> [(address, size)]"""
    sizes = [1 + i % 7 for i in range(pieces - 1)]
    out, at = [], gpa
    for step in sizes + [size - sum(sizes)]:
        out.append((at, step))
        at += step
    return out


class Long:
    """A request in as many buffers as the ring has entries."""

    def __init__(self, ring, kind, sector, length, data=None, size=None):
        size = -(-4 * length // 512) * 512 if size is None else size
        self.ring, self.size, self.read = ring, size, kind == T_IN
        m = ring.memory
        self.header, self.at, self.status = m.take(16), m.take(size + 1, 1), m.take(1)
        self.at += 1 - self.at % 2  # on no even address
        m.put(self.header, struct.pack('<IIQ', kind, 0, sector))
        m.put(self.at, b'\xee' * size if self.read else data[:size])
        flags = WRITE if self.read else 0
        self.chain = [(m.gpa + self.header, 9, 0), (m.gpa + self.header + 9, 7, 0)]
        self.chain += [(at, step, flags) for at, step in scattered(m.gpa + self.at, size, length - 3)]
        self.chain += [(m.gpa + self.status, 1, WRITE)]

    def send(self, indirect=False):
        self.id = self.ring.add(self.chain, indirect)
        self.ring.pending[self.id] = (self.status, 0)
        self.ring.publish()
        self.ring.kick()
        return self

    def finish(self):
        """-> (status, what was read)"""
        got, status, _ = self.ring.finish()
        assert got == self.id
        return status, self.ring.memory.get(self.at, self.size)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('num, indirect', [(1024, False), (2048, False), (LONGEST, False), (LONGEST, True), (64, True)])
@pytest.mark.parametrize('device', ['mem:64MiB', 'file'])
def test_a_chain_as_long_as_its_ring(serve, client, folder, kind, num, indirect, device):
    """By a table, on a small ring, too: up to 1,024 buffers."""
    device = f'file:{folder}/disk.img,create=1MiB' if device == 'file' else device
    c = client(serve(device), kind=kind, num=num, features=F_INDIRECT, size=8 << 20)
    length = max(num, 1024) if indirect else num
    data = os.urandom(1 << 18)
    write = Long(c.ring, T_OUT, 3, length, data)
    assert write.send(indirect).finish()[0] == OK
    assert c.ring.read(3, write.size) == (OK, data[:write.size])
    read = Long(c.ring, T_IN, 3, length)
    assert read.send(indirect).finish() == (OK, data[:read.size])
    assert c.ring.last_len == read.size + 1


def without_end(ring, chain):
    """All of the ring; the last descriptor says that one more follows, which is the first one again."""
    ring.add(chain)
    at = ring.desc + 16 * (ring.num - 1) + (14 if isinstance(ring, PackedRing) else 12)
    flags, = struct.unpack('<H', ring.memory.get(at, 2))
    ring.memory.put(at, struct.pack('<H', flags | NEXT))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('num', [2048, LONGEST])
def test_one_more_stops_that_ring_only(serve, client, kind, num):
    server = serve(options=',clients=2')
    other = client(server)
    c = client(server, kind=kind, num=num, features=F_INDIRECT, protocol=P_ALL, size=8 << 20, queues=2)
    without_end(c.ring, Long(c.ring, T_IN, 0, num).chain)
    c.ring.publish()
    c.ring.kick()
    assert c.ring.wait(c.ring.err_fd), 'the error descriptor was not signalled'
    assert c.front.ask_u64(GET_STATUS) & 0x40
    assert c.rings[1].write(0, b'o' * 512) == OK
    assert other.works()


@pytest.mark.parametrize('kind', KINDS)
def test_a_table_that_is_longer_than_its_ring_stops_that_ring_only(serve, client, kind):
    server = serve(options=',clients=2')
    other = client(server)
    c = client(server, kind=kind, num=2048, features=F_INDIRECT, protocol=P_ALL, queues=2)
    c.ring.add([(c.memory.gpa, 16 * 2049, INDIRECT)])
    c.ring.publish()
    c.ring.kick()
    assert c.ring.wait(c.ring.err_fd), 'the error descriptor was not signalled'
    assert c.rings[1].write(0, b'o' * 512) == OK
    assert other.works()


@pytest.mark.parametrize('kind', KINDS)
def test_long_chains_take_turns(serve, client, kind):
    """Of all rings of a reactor one at a time is under way; short ones of other rings do not wait for them."""
    c = client(serve('delay:[mem:64MiB],read=100ms', arguments=('--cpus', '0')), kind=kind, num=2048, queues=5, size=8 << 20)
    sent = [Long(ring, T_IN, 0, 2048).send() for ring in c.rings[:4]]
    assert c.rings[4].write(0, b's' * 512) == OK
    for one in sent:
        assert one.finish()[0] == OK


def wait_until_in_flight(area, kind, head):
    """The first chain of the first ring, in the area that notes what is in flight."""
    at = 16 * (1 + head) if kind == 'split' else 32
    while os.pread(area, 1, at) != b'\1':
        pass


@pytest.mark.parametrize('kind', KINDS)
def test_a_ring_that_waits_for_its_turn_stops_at_once(serve, client, kind):
    """Nothing of its chain has been taken: it comes when the ring goes on."""
    server = serve('delay:[mem:64MiB],read=1h', arguments=('--cpus', '0'))
    c = client(server, start=False, kind=kind, num=2048, queues=4, size=8 << 20, protocol=P_ALL)
    area, payload = c.front.inflight(4, 2048)
    assert c.front.tell(SET_INFLIGHT_FD, payload, [area]) == 0
    c.start()
    wait_until_in_flight(area, kind, Long(c.rings[0], T_IN, 0, 2048).send().id)
    for ring in c.rings[1:]:
        Long(ring, T_IN, 0, 2048).send()
    assert c.rings[3].stop() == c.rings[3].base
    assert c.rings[1].stop() == c.rings[1].base
    c.rings[3].start()
    assert all(ring.take() is None for ring in c.rings)
    os.close(area)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('num', [2048, LONGEST])
def test_the_next_server_finds_a_long_chain_in_flight(serve, survivor, kind, num):
    server = serve('delay:[mem:64MiB],write=1h')
    one = survivor(server, kind, num)
    data = os.urandom(1 << 18)
    sent = Long(one.ring, T_OUT, 5, num, data).send()
    wait_until_in_flight(one.area[0], kind, sent.id)
    server.command = [word.replace('=1h', '=1us') for word in server.command]
    restart(server, one)
    assert sent.finish()[0] == OK
    assert one.ring.take() is None
    assert one.ring.read(5, sent.size) == (OK, data[:sent.size])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('op, flags', [(T_IN, WRITE), (T_OUT, 0)])
def test_more_than_a_gibibyte_in_one_chain(serve, client, kind, op, flags):
    """As much as a chain may have, up to the device's last byte; what ends one sector later is not begun."""
    c = client(serve('null:1TiB'), kind=kind, num=2048, size=8 << 20)
    last = ((1 << 40) - (1 << 32)) // 512
    for sector, expected in ((0, OK), (last, OK), (last + 1, IOERR)):
        at = c.memory.take(17)
        c.memory.put(at, struct.pack('<IIQ', op, 0, sector) + b'\xff')
        chain = [(c.memory.gpa + at, 16, 0), *[(c.memory.gpa, 8 << 20, flags)] * 512, (c.memory.gpa + at + 16, 1, WRITE)]
        c.ring.pending[c.ring.add(chain)] = (at + 16, 0)
        c.ring.publish()
        c.ring.kick()
        assert c.ring.finish()[1] == expected
        assert c.ring.last_len == ((1 << 32) - 1 if op == T_IN else 1)
