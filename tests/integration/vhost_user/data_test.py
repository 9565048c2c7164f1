# SPDX-License-Identifier: BSD-2-Clause
"""Requests of every kind, through rings of every kind."""
import os
import resource
import struct

import pytest
from frontend import (F_CONFIG_WCE, F_DISCARD, F_EVENT_IDX, F_FLUSH, F_INDIRECT, F_PACKED, F_PROTOCOL, F_RO, F_VERSION_1,
                      F_WRITE_ZEROES, IOERR, OK, P_ALL, SET_CONFIG, T_DISCARD, T_FLUSH, T_GET_ID, T_IN, T_OUT,
                      T_WRITE_ZEROES, UNSUPP,
                      GET_FEATURES, PackedRing, SplitRing)

KINDS = ['split', 'packed']
DATA = os.urandom(65536)


def span(sector, sectors, flags=0):
    return struct.pack('<QII', sector, sectors, flags)


@pytest.mark.parametrize('kind', KINDS)
def test_what_was_written_is_read(serve, client, kind):
    c = client(serve(), kind=kind)
    assert c.ring.write(8, DATA) == OK
    assert c.ring.read(8, len(DATA)) == (OK, DATA)
    assert c.ring.read(0, 512) == (OK, bytes(512))


@pytest.mark.parametrize('kind', KINDS)
def test_a_ring_goes_round_many_times(serve, client, kind):
    c = client(serve(), kind=kind, num=4)
    for i in range(50):
        assert c.ring.write(i, bytes([i]) * 512) == OK
    for i in range(50):
        assert c.ring.read(i, 512) == (OK, bytes([i]) * 512)


@pytest.mark.parametrize('kind', KINDS)
def test_many_requests_at_once(serve, client, kind):
    c = client(serve(), kind=kind, num=256)
    ids = {c.ring.request(T_OUT, i * 8, data=bytes([i]) * 4096): i for i in range(60)}
    c.ring.publish()
    c.ring.kick()
    done = [c.ring.finish() for _ in ids]
    assert sorted(head for head, _, _ in done) == sorted(ids)
    assert all(status == OK for _, status, _ in done)
    for i in range(60):
        assert c.ring.read(i * 8, 4096) == (OK, bytes([i]) * 4096)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('parts', [1, 3, 8, 17, 125])
def test_data_in_parts(serve, client, kind, parts):
    c = client(serve(), kind=kind, num=256)
    assert c.ring.write(8, DATA, parts=parts) == OK
    assert c.ring.read(8, len(DATA), parts=parts) == (OK, DATA)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('parts', [1, 16, 128])
def test_indirect_descriptors(serve, client, kind, parts):
    """128 parts: more segments than advertised, and more descriptors than the ring has."""
    c = client(serve(), kind=kind, num=64, features=F_INDIRECT)
    assert c.ring.write(8, DATA, parts=parts, indirect=True) == OK
    assert c.ring.read(8, len(DATA), parts=parts, indirect=True) == (OK, DATA)


def test_129_segments_as_windows_sends_them(serve, client):
    c = client(serve(), num=256, features=F_INDIRECT)
    data = os.urandom(129 * 512)
    assert c.ring.write(8, data, parts=129) == OK
    assert c.ring.read(8, len(data), parts=129, indirect=True) == (OK, data)


@pytest.mark.parametrize('options, told', [
    ('', 126), (',queue-size=4', 2), (',queue-size=256', 254), (',queue-size=1024', 1022), (',queue-size=32768', 1022)])
def test_as_many_segments_as_the_largest_ring_takes_are_asked_for(serve, client, options, told):
    c = client(serve(options=options), features=F_INDIRECT)
    assert struct.unpack_from('<I', c.front.config(), 12) == (told,)
    assert c.ring.write(8, DATA, parts=128, indirect=True) == OK  # more are served all the same


def test_header_and_status_need_no_descriptor_of_their_own(serve, client):
    c = client(serve())
    m, ring = c.memory, c.ring
    at = m.take(16 + 512 + 1)
    m.put(at, struct.pack('<IIQ', T_OUT, 0, 3) + b'w' * 512 + b'\xff')
    ring.pending[ring.add([(m.gpa + at, 528, 0), (m.gpa + at + 528, 1, 2)])] = (at + 528, 0)
    ring.publish()
    ring.kick()
    assert ring.finish()[1] == OK
    at = m.take(16 + 512 + 1)
    m.put(at, struct.pack('<IIQ', T_IN, 0, 3) + bytes(512) + b'\xff')
    ring.pending[ring.add([(m.gpa + at, 7, 0), (m.gpa + at + 7, 9, 0), (m.gpa + at + 16, 513, 2)])] = (at + 16, 512)
    ring.publish()
    ring.kick()
    assert ring.finish()[1:] == (OK, b'w' * 512)


@pytest.mark.parametrize('kind', KINDS)
def test_used_length_is_what_was_written(serve, client, kind):
    c = client(serve(), kind=kind)
    c.ring.write(0, b'x' * 512)
    assert c.ring.last_len == 1
    c.ring.read(0, 1024)
    assert c.ring.last_len == 1025


@pytest.mark.parametrize('kind', KINDS)
def test_event_index_asks_for_the_notification(serve, client, kind):
    c = client(serve(), kind=kind, features=F_EVENT_IDX, event_idx=True)
    for i in range(100):
        assert c.ring.write(i, b'e' * 512) == OK


def test_no_notification_when_none_is_wanted(serve, client):
    c = client(serve())
    assert c.works()
    c.ring.no_interrupt()
    while c.ring.wait(seconds=0):
        pass
    c.ring.request(T_FLUSH)
    c.ring.publish()
    c.ring.kick()
    while c.ring.used_idx() == c.ring.used:
        pass
    assert c.ring.finish()[1] == OK
    c.ring.no_interrupt(False)
    assert c.works()


def test_flush_and_id(serve, client):
    c = client(serve(options=',serial=disk-7'))
    assert c.ring.do(T_FLUSH)[0] == OK
    assert c.ring.do(T_GET_ID, room=20) == (OK, b'disk-7' + bytes(14))
    assert c.ring.do(T_GET_ID, room=4) == (OK, b'disk')


def test_discard_and_write_zeroes(serve, client):
    c = client(serve(), features=F_DISCARD | F_WRITE_ZEROES)
    for kind, flags in [(T_DISCARD, 0), (T_WRITE_ZEROES, 0), (T_WRITE_ZEROES, 1)]:
        assert c.ring.write(8, b'd' * 8192) == OK
        assert c.ring.do(kind, data=span(16, 8, flags))[0] == OK
        status, data = c.ring.read(8, 8192)
        assert (status, data[:4096]) == (OK, b'd' * 4096)
        if kind == T_WRITE_ZEROES:
            assert data[4096:] == bytes(4096)


def test_bad_ranges_are_errors(serve, client):
    c = client(serve(), features=F_DISCARD | F_WRITE_ZEROES)
    capacity = c.front.capacity() // 512
    for sector in (capacity, capacity - 1, 1 << 40, (1 << 55) + 1, (1 << 64) - 1):
        assert c.ring.read(sector, 1024)[0] == IOERR
        assert c.ring.write(sector, b'x' * 1024) == IOERR
        assert c.ring.do(T_WRITE_ZEROES, data=span(sector, 2))[0] == IOERR
        assert c.ring.do(T_DISCARD, data=span(sector, 2))[0] == IOERR
    assert c.ring.read(0, 100)[0] == IOERR
    assert c.ring.write(0, b'x' * 513) == IOERR
    assert c.ring.do(T_DISCARD, data=span(0, 1, 1))[0] == UNSUPP
    assert c.ring.do(T_WRITE_ZEROES, data=span(0, 1, 6))[0] == UNSUPP
    assert c.ring.do(T_WRITE_ZEROES, data=span(0, 1)[:15])[0] == IOERR
    assert c.ring.do(T_WRITE_ZEROES)[0] in (IOERR, UNSUPP)
    assert c.ring.do(99)[0] == UNSUPP
    assert c.works()


def test_a_request_without_a_header_is_an_error(serve, client):
    c = client(serve())
    m, ring = c.memory, c.ring
    at = m.take(16)
    for chain in ([(m.gpa + at, 8, 0), (m.gpa + at + 8, 1, 2)], [(m.gpa + at, 8, 2)], [(m.gpa + at, 16, 0)]):
        ring.pending[ring.add(chain)] = (at + 8, 0)
        ring.publish()
        ring.kick()
        ring.finish()
    assert c.works()


def test_ranges_longer_than_config_space_says_fail(serve, client):
    c = client(serve('null:1TiB'), features=F_DISCARD | F_WRITE_ZEROES)
    config = c.front.config()
    for kind, at in [(T_DISCARD, 36), (T_WRITE_ZEROES, 48)]:
        most = struct.unpack_from('<I', config, at)[0]
        assert c.ring.do(kind, data=span(0, most))[0] == OK
        assert c.ring.do(kind, data=span(0, most + 1))[0] == IOERR


def test_read_only(serve, client):
    server = serve(options=',readonly=on')
    with server.connect() as front:
        assert front.ask_u64(GET_FEATURES) & F_RO
    c = client(server)
    assert c.ring.write(0, b'x' * 512) == IOERR
    assert c.ring.do(T_WRITE_ZEROES, data=span(0, 1))[0] == IOERR
    assert c.ring.read(0, 512) == (OK, bytes(512))


def test_write_cache_can_be_switched(serve, client):
    c = client(serve(), features=F_CONFIG_WCE, protocol=P_ALL)
    assert c.front.config()[32] == 1
    for on in (0, 1, 0):
        assert c.front.tell(SET_CONFIG, struct.pack('<III', 32, 1, 0) + bytes([on])) == 0
        assert c.front.config()[32] == on
        assert c.works()


def test_many_queues(serve, client):
    c = client(serve(), queues=32, num=16)
    for i, ring in enumerate(c.rings):
        assert ring.write(i, bytes([i]) * 512) == OK
    for i, ring in enumerate(reversed(c.rings)):
        assert ring.read(i, 512) == (OK, bytes([i]) * 512)


def test_more_queues_than_a_program_may_have_files_by_default(serve, client):
    """Three for each: the server takes what the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        server = serve()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    c = client(server, queues=32)
    for ring in c.rings:
        assert ring.write(0, b'q' * 512) == OK


def test_as_many_queues_as_the_protocol_can_name(serve, client):
    c = client(serve(), queues=256, num=8)
    for i in (0, 1, 127, 254, 255):
        assert c.rings[i].write(i, bytes([i]) * 512) == OK
    assert c.rings[3].read(255, 512) == (OK, b'\xff' * 512)


@pytest.mark.parametrize('kind', KINDS)
def test_pinned_memory(serve, client, kind):
    """Where the limit of locked memory forbids it, requests go the ordinary way."""
    server = serve(options=',pin=on')
    for _ in range(3):
        c = client(server, kind=kind)
        assert c.ring.write(8, DATA) == OK
        assert c.ring.read(8, len(DATA)) == (OK, DATA)
        c.front.close()


def test_pinned_memory_on_a_file(serve, client, folder):
    c = client(serve(device=f'file:{folder}/disk.img,create=1MiB', options=',pin=on'))
    assert c.ring.write(8, DATA) == OK
    assert c.ring.read(8, len(DATA)) == (OK, DATA)


def test_features_that_are_offered(serve):
    with serve().connect() as front:
        offered = front.ask_u64(GET_FEATURES)
    assert offered & (F_PACKED | F_INDIRECT | F_EVENT_IDX | F_VERSION_1 | F_PROTOCOL | F_FLUSH | F_CONFIG_WCE)
    assert not offered & (1 << 35), 'IN_ORDER is a promise that we do not make'


@pytest.mark.parametrize('ring', [SplitRing, PackedRing])
def test_polling_front_end_without_descriptors(serve, client, ring):
    """Bit 8: no kick and no call descriptor; both sides look at the ring."""
    kind = 'split' if ring is SplitRing else 'packed'
    c = client(serve(), start=False, kind=kind)
    c.ring.start(kick=False, call=False)
    for i in range(20):
        c.ring.request(T_OUT, i, data=b'p' * 512)
        c.ring.publish()
        while not c.ring.pending.keys() & {head := c.ring.take()}:
            pass
        at, _ = c.ring.pending.pop(head)
        assert c.memory.get(at, 1)[0] == OK
