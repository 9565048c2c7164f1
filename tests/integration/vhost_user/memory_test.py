# SPDX-License-Identifier: BSD-2-Clause
"""Guest memory that comes, goes, and is taken away."""
import os
import struct

import pytest
from frontend import (ADD_MEM_REG, F_LOG_ALL, GET_MAX_MEM_SLOTS, F_INDIRECT, IOERR, OK, P_ALL, P_BACKEND_REQ, REM_MEM_REG,
    SET_FEATURES, SET_INFLIGHT_FD, SET_LOG_BASE, SET_MEM_TABLE, Closed,
                      SET_VRING_ADDR, T_GET_ID, T_IN, T_OUT, F_FLUSH, F_PACKED, F_PROTOCOL, F_VERSION_1, Memory, SplitRing)


@pytest.mark.parametrize('kind', ['split', 'packed'])
def test_table_replaced_under_load(serve, client, kind):
    c = client(serve(device='delay:[mem:64MiB],write=5ms'), kind=kind)
    for i in range(20):
        sent = {c.ring.request(T_OUT, i, data=b't' * 512) for _ in range(4)}
        c.ring.publish()
        c.ring.kick()
        assert c.front.mem_table(c.memory) == 0
        for _ in sent:
            assert c.ring.finish()[1] == OK


def test_regions_added_and_removed(serve, client):
    c = client(serve(), protocol=P_ALL)
    for i in range(10):
        more = Memory(1 << 20, gpa=0x80000000 + (i << 24), uva=0x600000000000 + (i << 24))
        assert c.front.tell(ADD_MEM_REG, bytes(8) + more.region(), [more.fd]) == 0
        more.put(0, struct.pack('<IIQ', T_OUT, 0, 7) + b'm' * 512)
        status = c.memory.take(1)
        head = c.ring.add([(more.gpa, 528, 0), (c.memory.gpa + status, 1, 2)])
        c.ring.pending[head] = (status, 0)
        c.ring.publish()
        c.ring.kick()
        assert c.ring.finish()[1] == OK
        assert c.front.tell(REM_MEM_REG, bytes(8) + more.region()) == 0
        assert c.front.tell(REM_MEM_REG, bytes(8) + more.region()) != 0
        more.close()
    assert c.works()


def test_removal_waits_for_the_last_request(serve, client):
    """The in-flight area tells when the request has been taken."""
    c = client(serve(device='delay:[mem:64MiB],read=100ms'), start=False, protocol=P_ALL)
    fd, payload = c.front.inflight(1, c.ring.num)
    assert c.front.tell(SET_INFLIGHT_FD, payload, [fd]) == 0
    c.ring.start()
    more = Memory(1 << 20, gpa=0x80000000, uva=0x600000000000)
    assert c.front.tell(ADD_MEM_REG, bytes(8) + more.region(), [more.fd]) == 0
    at = c.memory.take(17)
    c.memory.put(at, struct.pack('<IIQ', T_IN, 0, 0) + b'\xff')
    more.put(0, b'\xee' * 4096)
    head = c.ring.add([(c.memory.gpa + at, 16, 0), (more.gpa, 4096, 2), (c.memory.gpa + at + 16, 1, 2)])
    c.ring.publish()
    c.ring.kick()
    while os.pread(fd, 1, 16 + 16 * head) != b'\1':
        pass
    assert c.front.tell(REM_MEM_REG, bytes(8) + more.region()) == 0
    assert c.memory.get(at + 16, 1)[0] == OK, 'answered before the request had ended'
    assert more.get(0, 4096) == bytes(4096)
    more.close()
    os.close(fd)


def test_as_many_slots_as_promised(serve, client):
    c = client(serve(), protocol=P_ALL)
    slots = c.front.ask_u64(GET_MAX_MEM_SLOTS)
    more = [Memory(4096, gpa=(2 + i) << 32, uva=(2 + i) << 36) for i in range(slots - 1)]
    for m in more:
        assert c.front.tell(ADD_MEM_REG, bytes(8) + m.region(), [m.fd]) == 0
    extra = Memory(4096, gpa=1 << 50, uva=1 << 46)
    assert c.front.tell(ADD_MEM_REG, bytes(8) + extra.region(), [extra.fd]) != 0
    assert c.works()
    for m in more + [extra]:
        m.close()


def test_a_buffer_across_two_regions(serve, client):
    c = client(serve(), protocol=P_ALL)
    low = Memory(1 << 20, gpa=0x80000000, uva=0x600000000000)
    high = Memory(1 << 20, gpa=0x80100000, uva=0x610000000000)
    for m in (low, high):
        assert c.front.tell(ADD_MEM_REG, bytes(8) + m.region(), [m.fd]) == 0
    c.ring.write(0, bytes(range(256)) * 16)
    at = c.memory.take(17)
    c.memory.put(at, struct.pack('<IIQ', T_IN, 0, 0) + b'\xff')
    c.ring.pending[c.ring.add([(c.memory.gpa + at, 16, 0), (high.gpa - 2048, 4096, 2), (c.memory.gpa + at + 16, 1,
        2)])] = (at + 16, 0)
    c.ring.publish()
    c.ring.kick()
    assert c.ring.finish()[1] == OK
    assert low.get(low.size - 2048, 2048) + high.get(0, 2048) == bytes(range(256)) * 16
    low.close()
    high.close()


@pytest.mark.parametrize('kind', ['split', 'packed'])
def test_more_pieces_than_can_be_served(serve, client, kind):
    """Each of a thousand buffers lies across 40 regions: the ring is stopped, nobody else notices."""
    server = serve(options=',clients=2')
    other = client(server)
    c = client(server, kind=kind, protocol=P_ALL, features=F_INDIRECT)
    pages = [Memory(4096, gpa=0x80000000 + 4096 * i, uva=0x600000000000 + (i << 20)) for i in range(40)]
    for m in pages:
        assert c.front.tell(ADD_MEM_REG, bytes(8) + m.region(), [m.fd]) == 0
    c.ring.add([(pages[0].gpa, 40 * 4096, 0)] * 1000, indirect=True)
    c.ring.publish()
    c.ring.kick()
    assert c.ring.wait(c.ring.err_fd), 'the error descriptor was not signalled'
    assert other.works()
    for m in pages:
        m.close()


@pytest.mark.parametrize('when', ['idle', 'in flight'])
def test_truncated_memory_closes_its_own_session(serve, client, when):
    """What is left of the memory is zeroes for us; nobody gets a SIGBUS."""
    server = serve(options=',clients=2')
    other = client(server)
    c = client(server)
    assert c.works()
    if when == 'in flight':
        for i in range(8):
            c.ring.request(T_OUT, i, data=b't' * 4096)
        c.ring.publish()
    os.ftruncate(c.memory.fd, 0)
    c.ring.kick()
    assert c.front.is_closed()
    assert other.works()
    # Our own mapping of it must not be touched any more.
    c.memory.map.close()
    c.memory.map = Memory(4096).map


def test_truncated_memory_that_holds_data_only_closes_its_own_session(serve, client):
    """Its ring goes on, but what is read would be zeroes, and what is written lost."""
    server = serve(options=',clients=2')
    other = client(server)
    c = client(server, protocol=P_ALL)
    more = Memory(1 << 20, gpa=0x80000000, uva=0x600000000000)
    assert c.front.tell(ADD_MEM_REG, bytes(8) + more.region(), [more.fd]) == 0
    os.ftruncate(more.fd, 0)
    at = c.memory.take(17)
    c.memory.put(at, struct.pack('<IIQ', T_IN, 0, 0))
    c.ring.add([(c.memory.gpa + at, 16, 0), (more.gpa, 4096, 2), (c.memory.gpa + at + 16, 1, 2)])
    c.ring.publish()
    c.ring.kick()
    assert c.front.is_closed()
    assert other.works()
    more.close()


def test_truncated_areas_harm_nobody(serve, client):
    """The in-flight area and the dirty log are the front end's files, too."""
    server = serve(options=',clients=2')
    other = client(server)
    c = client(server, start=False, protocol=P_ALL)
    fd, payload = c.front.inflight(1, c.ring.num)
    assert c.front.tell(SET_INFLIGHT_FD, payload, [fd]) in (0, 1)
    log = Memory(1 << 20)
    c.front.ask(SET_LOG_BASE, struct.pack('<QQ', log.size, 0), [log.fd])
    assert c.front.tell_u64(SET_FEATURES, F_PROTOCOL | F_VERSION_1 | F_FLUSH | F_LOG_ALL) == 0
    c.ring.start()
    assert c.works()
    log.map.close()
    os.ftruncate(log.fd, 0)
    try:
        os.ftruncate(fd, 0)
    except PermissionError: # ours is sealed
        pass
    os.close(fd)
    try:
        c.works()
    except (AssertionError, Closed):
        pass
    assert other.works()
    os.close(log.fd)


def pages_of(memory, at, size):
    return set(range((memory.gpa + at) // 4096, (memory.gpa + at + size - 1) // 4096 + 1))


class Log:
    """A dirty log, shared with the server, which keeps it from now on."""

    def __init__(self, c, features=0):
        self.pages = (c.memory.gpa + c.memory.size) // 4096
        self.memory = Memory(-(-self.pages // 8 // 4096) * 4096)
        payload = struct.pack('<QQ', self.memory.size, 0)
        assert struct.unpack('<Q', c.front.ask(SET_LOG_BASE, payload, [self.memory.fd]))[0] == 0
        assert c.front.tell_u64(SET_FEATURES, features | F_PROTOCOL | F_VERSION_1 | F_FLUSH | F_LOG_ALL) == 0

    def dirty(self):
        return {page for page in range(self.pages) if self.memory.get(page // 8, 1)[0] >> page % 8 & 1}

    def clear(self):
        self.memory.put(0, bytes(self.memory.size))


def test_a_log_is_replaced_under_load(serve, client):
    """As QEMU does it when memory has grown: nothing is marked in the old one any more once the new one is acknowledged."""
    c = client(serve(), protocol=P_ALL)
    logs = []
    for _ in range(5):
        logs.append(Log(c))
        for log in logs[:-1]:
            log.clear()
        assert c.works()
        assert logs[-1].dirty() and not any(log.dirty() for log in logs[:-1])
    for log in logs:
        log.memory.close()


def test_an_id_is_in_the_log(serve, client):
    c = client(serve(options=',serial=disk-7'), protocol=P_ALL)
    log = Log(c)
    at = c.memory.take(8192, 4096)
    c.memory.put(at, struct.pack('<IIQ', T_GET_ID, 0, 0))
    c.ring.pending[c.ring.add([(c.memory.gpa + at, 16, 0), (c.memory.gpa + at + 4096, 20, 2), (c.memory.gpa + at + 16, 1,
        2)])] = (at + 16, 0)
    c.ring.publish()
    c.ring.kick()
    assert c.ring.finish()[1] == OK
    assert log.dirty() == pages_of(c.memory, at, 8192)
    log.memory.close()


@pytest.mark.parametrize('offset', [4096, 1 << 20])
def test_memory_begins_anywhere_in_its_file(serve, client, offset):
    c = client(serve(), protocol=P_ALL, size=1 << 20)
    memory = Memory(1 << 20, gpa=1 << 32, uva=0x600000000000, offset=offset)
    assert c.front.tell(ADD_MEM_REG, bytes(8) + memory.region(), [memory.fd]) == 0
    ring = SplitRing(c.front, memory, 1).start()
    assert ring.write(0, b'o' * 512) == OK
    assert ring.read(0, 512) == (OK, b'o' * 512)
    ring.close()
    memory.close()


def test_an_area_begins_anywhere_in_its_file(serve, client):
    c = client(serve(), start=False, protocol=P_ALL)
    area = Memory(8192, offset=12288)
    assert c.front.tell(SET_INFLIGHT_FD, struct.pack('<QQHH', area.size, area.offset, 1, c.ring.num), [area.fd]) == 0
    c.ring.start()
    assert c.works()
    assert area.get(8, 2) == b'\1\0' and os.pread(area.fd, 12288, 0) == bytes(12288)
    area.close()


@pytest.mark.parametrize('device, parts', [('null:1GiB', 257), ('null:1TiB', 1022)])
def test_a_read_that_is_refused_dirties_nothing(serve, client, device, parts):
    """It ends beyond the device, or is longer than a chain may be: the log of it would take longer than the others can wait."""
    c = client(serve(device), features=F_INDIRECT, protocol=P_ALL, size=5 << 20)
    log = Log(c, F_INDIRECT)
    at = c.memory.take(17)
    c.memory.put(at, struct.pack('<IIQ', T_IN, 0, 0) + b'\xff')
    header, status = (c.memory.gpa + at, 16, 0), (c.memory.gpa + at + 16, 1, 2)
    c.ring.pending[c.ring.add([header, *[(c.memory.gpa, c.memory.size, 2)] * parts, status], indirect=True)] = (at + 16, 0)
    c.ring.publish()
    c.ring.kick()
    assert c.ring.finish()[1] == IOERR
    assert log.dirty() == pages_of(c.memory, at + 16, 1)
    log.memory.close()


def test_a_log_that_is_too_short_for_the_memory_ends_the_session(serve, client):
    """Pages beyond it would be written, and not be sent again."""
    server = serve(options=',clients=2')
    other = client(server)
    c = client(server, protocol=P_ALL)
    end = c.memory.gpa + c.memory.size
    log = Memory(end // 4096 // 8)
    with pytest.raises(Closed):
        c.front.ask(SET_LOG_BASE, struct.pack('<QQ', log.size - 1, 0), [log.fd])
    text = server.text()
    assert f'SET_LOG_BASE: guest memory up to {end:#x} needs a dirty log of {log.size} bytes' in text
    assert other.works()
    log.close()


def test_a_log_as_long_as_the_memory_needs_it_is_taken(serve, client):
    c = client(serve(), protocol=P_ALL)
    log = Memory((c.memory.gpa + c.memory.size) // 4096 // 8)
    c.front.ask(SET_LOG_BASE, struct.pack('<QQ', log.size, 0), [log.fd])
    assert c.works()
    log.close()


def test_memory_that_the_log_does_not_cover_is_not_taken(serve, client):
    """While writes are logged: added or in a new table. A longer log first, as QEMU does it, and it is; without logging, too."""
    server = serve()
    c = client(server, protocol=P_ALL)
    log = Log(c)
    more = Memory(1 << 20, gpa=1 << 32, uva=0x600000000000)
    add = (ADD_MEM_REG, bytes(8) + more.region(), [more.fd])
    assert c.front.tell(*add) == 1
    assert 'ADD_MEM_REG: guest memory up to 0x100100000' in server.text()
    assert c.front.mem_table(c.memory, more) == 1
    assert c.works()
    longer = Memory((more.gpa + more.size) // 4096 // 8)
    c.front.ask(SET_LOG_BASE, struct.pack('<QQ', longer.size, 0), [longer.fd])
    assert c.front.tell(*add) == 0
    ring = SplitRing(c.front, more, 1).start()
    assert ring.read(0, 4096)[0] == OK
    assert any(longer.get((1 << 32) // 4096 // 8, 32)), 'what was written there is not in the log'
    ring.close()
    for m in (log.memory, longer, more):
        m.close()


def test_logging_is_not_switched_on_with_a_log_that_is_too_short(serve, client):
    """Memory has grown since the log of the last migration was given: until the next one that does not matter."""
    server = serve()
    c = client(server, protocol=P_ALL)
    log = Log(c)
    features = F_PROTOCOL | F_VERSION_1 | F_FLUSH
    assert c.front.tell_u64(SET_FEATURES, features) == 0
    more = Memory(1 << 20, gpa=1 << 32, uva=0x600000000000)
    assert c.front.tell(ADD_MEM_REG, bytes(8) + more.region(), [more.fd]) == 0
    assert c.front.tell_u64(SET_FEATURES, features | F_LOG_ALL) == 1
    assert 'SET_FEATURES: guest memory up to 0x100100000' in server.text()
    assert c.front.tell(REM_MEM_REG, bytes(8) + more.region()) == 0
    assert c.front.tell_u64(SET_FEATURES, features | F_LOG_ALL) == 0
    assert c.works() and log.dirty()
    for m in (log.memory, more):
        m.close()


def test_a_ring_that_is_to_be_logged_beyond_the_log_does_not_run(serve, client):
    server = serve()
    c = client(server, protocol=P_ALL)
    log = Log(c)
    for where in (8 * 4096 * log.memory.size, (1 << 64) - 16):
        assert c.front.tell(SET_VRING_ADDR, c.ring.addr_payload(flags=1, log=where)) == 0
        assert f'is to be logged at guest address {where:#x}' in server.text()
    assert c.front.tell(SET_VRING_ADDR, c.ring.addr_payload(flags=1, log=c.memory.gpa + c.ring.device)) == 0
    assert c.works()
    log.memory.close()


@pytest.mark.parametrize('kind', ['split', 'packed'])
def test_dirty_log(serve, client, kind):
    """Each page that is written, by data, status or ring, is in the log; and from the start the whole ring, since a server that
    was killed may have written it and not said so. The address for it is that of the device's part, as QEMU gives it, although
    in a packed ring the descriptors are what is written: they lie on a page of their own here."""
    c = client(serve(), kind=kind, protocol=P_ALL, num=256)
    device = pages_of(c.memory, c.ring.device, 6 + 8 * 256 if kind == 'split' else 4)
    assert c.ring.write(0, b'l' * 8192) == OK
    log = Log(c, F_PACKED if kind == 'packed' else 0)
    assert c.front.tell(SET_VRING_ADDR, c.ring.addr_payload(flags=1, log=c.memory.gpa + c.ring.device)) == 0
    desc = pages_of(c.memory, c.ring.desc, 16 * 256)
    ring = device if kind == 'split' else device | desc
    assert log.dirty() == ring and not desc & device
    log.clear()
    c.memory.take(4096, 4096)
    at = c.memory.take(16 + 8192 + 1)
    c.memory.put(at, struct.pack('<IIQ', T_IN, 0, 0) + bytes(8192) + b'\xff')
    c.ring.pending[c.ring.add([(c.memory.gpa + at, 16, 0), (c.memory.gpa + at + 16, 8192, 2), (c.memory.gpa + at +
        8208, 1, 2)])] = (at + 8208, 0)
    c.ring.publish()
    c.ring.kick()
    assert c.ring.finish()[1] == OK
    data = pages_of(c.memory, at + 16, 8192 + 1)
    assert data | (device if kind == 'split' else desc) <= log.dirty() <= data | ring
    assert c.front.tell_u64(SET_FEATURES, F_PROTOCOL | F_VERSION_1 | F_FLUSH | (F_PACKED if kind == 'packed' else 0)) == 0
    assert c.works()
    log.memory.close()
