# SPDX-License-Identifier: BSD-2-Clause
"""Messages that are wrong in every way that messages can be wrong. The one who sends them loses the connection or gets a refusal;
who is connected besides, and who comes after, notices nothing."""
import os
import random
import struct

import pytest
from frontend import (ADD_MEM_REG, Closed, F_PROTOCOL, F_VERSION_1, GET_CONFIG, GET_FEATURES, GET_INFLIGHT_FD, GET_MAX_MEM_SLOTS,
                      GET_PROTOCOL_FEATURES, GET_QUEUE_NUM, GET_STATUS, GET_VRING_BASE, IOERR, NO_FD, OK, P_ALL,
                      REM_MEM_REG, REPLY, RESET_DEVICE,
                      RESET_OWNER, SET_BACKEND_REQ_FD, SET_CONFIG, SET_FEATURES, SET_INFLIGHT_FD, SET_LOG_BASE, SET_LOG_FD,
                      SET_MEM_TABLE, SET_OWNER, SET_PROTOCOL_FEATURES, SET_STATUS, SET_VRING_ADDR, SET_VRING_BASE, SET_VRING_CALL,
                      SET_VRING_ENABLE, SET_VRING_ERR, SET_VRING_KICK, SET_VRING_NUM, VERSION, Memory, SplitRing)

NOTHING = b''
U64 = struct.pack('<Q', 0)
STATE = struct.pack('<II', 0, 0)
# request: (a payload of the right length, descriptors that it may have)
SHAPES = {
    GET_FEATURES: (NOTHING, [0]), SET_FEATURES: (U64, [0]), SET_OWNER: (NOTHING, [0]), RESET_OWNER: (NOTHING, [0]),
    SET_MEM_TABLE: (struct.pack('<IIQQQQ', 1, 0, 0, 4096, 0, 0), [1]), SET_LOG_BASE: (struct.pack('<QQ', 4096, 0), [1]),
    SET_LOG_FD: (NOTHING, [1]), SET_VRING_NUM: (struct.pack('<II', 0, 8), [0]), SET_VRING_ADDR: (bytes(40), [0]),
    SET_VRING_BASE: (STATE, [0]), GET_VRING_BASE: (STATE, [0]), SET_VRING_KICK: (U64, [1]), SET_VRING_CALL: (U64, [1]),
    SET_VRING_ERR: (U64, [1]), GET_PROTOCOL_FEATURES: (NOTHING, [0]), SET_PROTOCOL_FEATURES: (U64, [0]),
    GET_QUEUE_NUM: (NOTHING, [0]),
    SET_VRING_ENABLE: (STATE, [0]), SET_BACKEND_REQ_FD: (NOTHING, [1]), GET_CONFIG: (struct.pack('<III', 0, 8, 0) + bytes(8), [0]),
    SET_CONFIG: (struct.pack('<III', 32, 1, 0) + b'\1', [0]), GET_INFLIGHT_FD: (struct.pack('<QQHH', 0, 0, 1, 8), [0]),
    SET_INFLIGHT_FD: (struct.pack('<QQHH', 4096, 0, 1, 8), [1]), RESET_DEVICE: (NOTHING, [0]), GET_MAX_MEM_SLOTS: (NOTHING, [0]),
    ADD_MEM_REG: (struct.pack('<QQQQQ', 0, 0, 4096, 0, 0), [1]), REM_MEM_REG: (struct.pack('<QQQQQ', 0, 0, 4096, 0, 0), [0, 1]),
    SET_STATUS: (U64, [0]), GET_STATUS: (NOTHING, [0]),
}


@pytest.fixture
def bystander(serve, client):
    """(server, a connected client that works before and after the test)"""
    server = serve(options=',clients=8')
    c = client(server)
    assert c.works()
    yield server, c
    assert c.works()


def descriptors(count):
    return [os.eventfd(0) for _ in range(count)]


def close_all(fds):
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize('request_', sorted(SHAPES))
def test_wrong_length_closes(bystander, request_):
    server, _ = bystander
    payload, counts = SHAPES[request_]
    for wrong in {payload + b'\0' * 300, payload[:-1], payload[:1]} - {payload}:
        with server.connect() as front:
            front.negotiate(protocol=P_ALL)
            fds = descriptors(counts[0])
            try:
                front.send(request_, wrong, fds)
                assert front.is_closed()
            except Closed:
                pass
            close_all(fds)


@pytest.mark.parametrize('request_', sorted(SHAPES))
def test_wrong_number_of_descriptors_closes(bystander, request_):
    server, _ = bystander
    payload, counts = SHAPES[request_]
    for count in {0, 1, 2, 8, 9, 20} - set(counts):
        with server.connect() as front:
            front.negotiate(protocol=P_ALL)
            fds = descriptors(count)
            try:
                front.send(request_, payload, fds)
                assert front.is_closed()
            except Closed:
                pass
            close_all(fds)


@pytest.mark.parametrize('flags', [0, 2, 3, VERSION | REPLY])
def test_wrong_flags_close(bystander, flags):
    server, _ = bystander
    with server.connect() as front:
        front.send(GET_FEATURES, flags=flags)
        assert front.is_closed()


@pytest.mark.parametrize('request_', [0, 26, 28, 29, 30, 33, 35, 41, 44, 99, 0xffffffff])
def test_unknown_requests_close(bystander, request_):
    server, _ = bystander
    with server.connect() as front:
        front.send(request_, U64)
        assert front.is_closed()


def test_a_huge_length_is_not_waited_for(bystander):
    server, _ = bystander
    with server.connect() as front:
        front.send_raw(struct.pack('<III', SET_FEATURES, VERSION, 0xffffffff))
        assert front.is_closed()


def refusals(memory):
    """Messages that are well-formed and cannot be done."""
    region = struct.pack('<QQQQ', 0, 4096, 0, 0)
    return [
        (SET_FEATURES, struct.pack('<Q', 1 << 63), 0), (SET_PROTOCOL_FEATURES, struct.pack('<Q', 1 << 14), 0),
        (SET_VRING_NUM, struct.pack('<II', 0, 0), 0), (SET_VRING_NUM, struct.pack('<II', 0, 32769), 0),
        (SET_VRING_NUM, struct.pack('<II', 256, 8), 0), (SET_VRING_BASE, struct.pack('<II', 1000, 0), 0),
        (SET_VRING_ENABLE, struct.pack('<II', 0xffffffff, 1), 0), (SET_VRING_ADDR, struct.pack('<II', 300, 0) + bytes(32), 0),
        (SET_CONFIG, struct.pack('<III', 0, 8, 0) + bytes(8), 0), (SET_CONFIG, struct.pack('<III', 0xffffffff, 8, 0) + bytes(8), 0),
        (SET_STATUS, struct.pack('<Q', 256), 0), (REM_MEM_REG, bytes(8) + region, 0),
        (ADD_MEM_REG, bytes(8) + struct.pack('<QQQQ', 0, 0, 0, 0), 'm'),
        (ADD_MEM_REG, bytes(8) + struct.pack('<QQQQ', 0, memory.size + 1, 0, 0), 'm'),
        (ADD_MEM_REG, bytes(8) + struct.pack('<QQQQ', 0, 4096, 0, memory.size), 'm'),
        (ADD_MEM_REG, bytes(8) + struct.pack('<QQQQ', 0, 4096, 0, (1 << 64) - 1), 'm'),
        (ADD_MEM_REG, bytes(8) + struct.pack('<QQQQ', (1 << 64) - 4096, 8192, 0, 0), 'm'),
        (ADD_MEM_REG, bytes(8) + struct.pack('<QQQQ', 0, 1 << 63, 0, 0), 'm'),
        (ADD_MEM_REG, bytes(8) + memory.region(), 'm'), (ADD_MEM_REG, bytes(8) + region, 'e'),
        (SET_MEM_TABLE, struct.pack('<II', 1, 0) + region, 'e'),
        (SET_MEM_TABLE, struct.pack('<II', 1, 0) + struct.pack('<QQQQ', 0, 0, 0, 0), 'm'),
        (SET_MEM_TABLE, struct.pack('<II', 2, 0) + region * 2, 'mm'),
        (SET_VRING_KICK, struct.pack('<Q', 0), 'm'), (SET_VRING_CALL, struct.pack('<Q', 0), 'm'),
        (SET_VRING_ERR, struct.pack('<Q', 0), 'm'),
        (SET_INFLIGHT_FD, struct.pack('<QQHHI', 4096, 0, 0, 8, 0), 'm'), (SET_INFLIGHT_FD, struct.pack('<QQHHI', 4096,
        0, 1, 0, 0), 'm'),
        (SET_INFLIGHT_FD, struct.pack('<QQHHI', 1 << 40, 0, 1, 8, 0), 'm'), (SET_INFLIGHT_FD, struct.pack('<QQHHI', 0,
        0, 1, 8, 0), 'm'),
        (SET_INFLIGHT_FD, struct.pack('<QQHHI', 4096, 1 << 62, 1, 8, 0), 'm'), (SET_INFLIGHT_FD, struct.pack('<QQHHI',
        4096, 0, 1, 8, 0), 'e'),
    ]


@pytest.mark.parametrize('number', range(32))
@pytest.mark.parametrize('acks', [True, False])
def test_what_cannot_be_done_is_refused(serve, client, number, acks):
    """With acknowledgements it is said, and the connection goes on; without, it is closed."""
    server = serve(options=',clients=2')
    c = client(server, protocol=P_ALL)
    request, payload, what = refusals(c.memory)[number]
    event = os.eventfd(0)
    fds = [{'m': c.memory.fd, 'e': event}[letter] for letter in what or '']
    if acks:
        assert c.front.tell(request, payload, fds) != 0
        assert c.works()
    else:
        with server.connect() as front:
            front.negotiate(protocol=P_ALL)
            front.acks = False
            if payload.endswith(c.memory.region()): # as it stands it is refused only where it is there already
                front.tell(request, payload, fds)
            front.tell(request, payload, fds)
            assert front.is_closed()
        assert c.works()
    os.close(event)


def test_the_list_of_refusals_is_tried_to_its_end():
    memory = Memory(4096)
    assert len(refusals(memory)) == 32
    memory.close()


def test_ring_addresses_outside_memory(bystander):
    server, _ = bystander
    with server.connect() as front:
        front.negotiate(protocol=P_ALL)
        memory = Memory()
        front.mem_table(memory)
        for address in (0, memory.uva - 16, memory.uva + memory.size - 16, (1 << 64) - 16, memory.uva + 8):
            ring = SplitRing(front, memory)
            payload = struct.pack('<IIQQQQ', 0, 0, address, memory.uva + ring.device, memory.uva + ring.driver, 0)
            for step in ring.steps():
                assert step() == 0
            front.tell(SET_VRING_ADDR, payload)
            front.tell_state(SET_VRING_ENABLE, 0, 1)
            ring.kick()
            assert front.tell(SET_VRING_ADDR, ring.addr_payload()) == 0
            assert ring.write(0, b'a' * 512) == OK
            ring.stop()
            ring.close()
        memory.close()


@pytest.mark.parametrize('seed', range(20))
def test_messages_at_random(bystander, seed):
    """Well-formed messages in any order with any numbers: refused, done or cut off, but nothing worse."""
    server, _ = bystander
    rng = random.Random(seed)
    small = [0, 1, 2, 8, 63, 64, 255, 256, 1 << 16, 1 << 32, (1 << 64) - 1]
    memory = Memory(1 << 20)
    for _ in range(20):
        with server.connect() as front:
            fds = []
            try:
                if rng.random() < 0.8:
                    front.negotiate(protocol=P_ALL)
                for _ in range(rng.randrange(1, 40)):
                    request = rng.choice(sorted(SHAPES))
                    payload, counts = SHAPES[request]
                    words = [rng.choice(small) for _ in range(len(payload) // 8 + 1)]
                    if rng.random() < 0.8:
                        payload = b''.join(struct.pack('<Q', w) for w in words)[:len(payload)]
                    if request == SET_MEM_TABLE and rng.random() < 0.7:
                        payload = struct.pack('<II', 1, 0) + memory.region()
                    extra = [rng.choice([os.eventfd(0), os.memfd_create('x')]) for _ in range(rng.choice(counts))]
                    if request in (SET_MEM_TABLE, ADD_MEM_REG) and rng.random() < 0.8:
                        os.close(extra.pop())
                        extra.append(os.dup(memory.fd))
                    fds += extra
                    front.send(request, payload, extra, VERSION | rng.choice([0, 8]))
            except Closed:
                pass
            close_all(fds)
    memory.close()


def test_who_does_not_read_answers_is_cut_off(bystander):
    server, _ = bystander
    with server.connect() as front:
        front.sock.settimeout(10)
        try:
            for _ in range(100000):
                front.send_raw(struct.pack('<III', GET_FEATURES, VERSION, 0) * 100)
        except (Closed, TimeoutError):
            pass
