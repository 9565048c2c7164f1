# SPDX-License-Identifier: BSD-2-Clause
"""Front ends differ in the order and the completeness of what they send."""
import itertools
import os
import random
import struct

import pytest
from frontend import (ADD_MEM_REG, CONFIG_CHANGE, F_CONFIG_WCE, F_EVENT_IDX, F_FLUSH, F_INDIRECT, F_LOG_ALL, F_PROTOCOL,
                      F_VERSION_1, GET_CONFIG, GET_FEATURES, GET_MAX_MEM_SLOTS, GET_PROTOCOL_FEATURES, GET_QUEUE_NUM,
                      GET_STATUS, Memory, NEED_REPLY, OK, P_ALL, P_CONFIG, P_INFLIGHT, P_MEM_SLOTS, P_MQ, P_REPLY_ACK, P_STATUS,
                      REM_MEM_REG, RESET_DEVICE, RESET_OWNER, RINGS, SET_CONFIG, SET_FEATURES, SET_INFLIGHT_FD, SET_MEM_TABLE,
                      SET_OWNER, SET_PROTOCOL_FEATURES, SET_STATUS, SET_VRING_ADDR, SET_VRING_BASE, SET_VRING_CALL,
                      SET_VRING_ENABLE, SET_VRING_KICK, SET_VRING_NUM, SplitRing, T_OUT)


@pytest.mark.parametrize('seed', range(12))
def test_any_order_of_ring_messages(serve, client, seed):
    c = client(serve(), start=False)
    steps = c.ring.steps() + [lambda: c.front.tell_state(SET_VRING_ENABLE, 0, 1)]
    random.Random(seed).shuffle(steps)
    for step in steps:
        assert step() == 0
    assert c.works()


def test_enable_first_memory_last(serve):
    with serve().connect() as front:
        front.negotiate()
        memory = Memory()
        ring = SplitRing(front, memory)
        assert front.tell_state(SET_VRING_ENABLE, 0, 1) == 0
        for step in ring.steps():
            assert step() == 0
        assert front.mem_table(memory) == 0
        assert ring.write(0, b'm' * 512) == OK
        ring.close()
        memory.close()


def test_no_enable_where_it_was_not_negotiated(serve):
    """Without PROTOCOL_FEATURES a ring is enabled from the start."""
    with serve().connect() as front:
        front.negotiate(features=F_VERSION_1)
        memory = Memory()
        front.mem_table(memory)
        ring = SplitRing(front, memory).start(enable=False)
        assert ring.write(0, b'm' * 512) == OK
        ring.close()
        memory.close()


def test_some_rings_only(serve, client):
    c = client(serve(), start=False, queues=8)
    for i in (1, 6, 3):
        c.rings[i].start()
        assert c.rings[i].write(i, b'r' * 512) == OK


def test_ring_stopped_and_started_again(serve, client):
    c = client(serve())
    for i in range(5):
        assert c.works()
        base = c.ring.stop()
        assert base == c.ring.avail
        c.ring.base = base
        c.ring.start()
    assert c.works()


def test_packed_ring_says_where_it_is(serve, client):
    c = client(serve(), kind='packed', num=8)
    for _ in range(5):
        assert c.works()
        ring = c.ring
        base = ring.stop()
        assert base == ring.at | ring.wrap << 15 | ring.used << 16 | ring.used_wrap << 31
        ring.base = base
        ring.start()


def test_disabled_ring_waits(serve, client):
    c = client(serve(), queues=2)
    assert c.front.tell_state(SET_VRING_ENABLE, 0, 0) == 0
    while c.ring.wait(seconds=0):
        pass
    c.ring.request(T_OUT, 0, data=b'd' * 512)
    c.ring.publish()
    c.ring.kick()
    for _ in range(10):
        assert c.rings[1].write(8, b'e' * 512) == OK  # which was kicked later
    assert not c.ring.wait(seconds=0)
    assert c.front.tell_state(SET_VRING_ENABLE, 0, 1) == 0
    assert c.ring.finish()[1] == OK


def test_call_descriptor_exchanged_while_running(serve, client):
    c = client(serve())
    for _ in range(20):
        assert c.front.tell_u64(SET_VRING_CALL, 0, [c.ring.call_fd]) == 0
        assert c.works()
        assert c.front.tell_u64(SET_VRING_CALL, 0x100) == 0
    assert c.front.tell_u64(SET_VRING_CALL, 0, [c.ring.call_fd]) == 0
    assert c.works()


@pytest.mark.parametrize('offset,size', [(0, 60), (0, 256), (0, 8), (0, 4), (20, 4), (59, 1), (200, 56), (32, 2), (0, 1)])
def test_config_of_any_size(serve, client, offset, size):
    c = client(serve(device='mem:64MiB'), start=False)
    whole = c.front.config(256)
    assert struct.unpack('<Q', whole[:8])[0] == (64 << 20) // 512
    assert struct.unpack('<I', whole[20:24])[0] == 512
    assert c.front.config(size, offset) == whole[offset:offset + size]


def test_numbers_of_queues_and_slots(serve, client):
    c = client(serve(options=',queues=7'), start=False, protocol=P_ALL)
    assert c.front.ask_u64(GET_QUEUE_NUM) == 7
    assert struct.unpack('<H', c.front.config()[34:36])[0] == 7
    assert c.front.ask_u64(GET_MAX_MEM_SLOTS) >= 32


def test_status(serve, client):
    c = client(serve(), protocol=P_ALL)
    assert c.front.ask_u64(GET_STATUS) == 0
    for status in (1, 3, 11, 15):
        assert c.front.tell_u64(SET_STATUS, status) == 0
        assert c.front.ask_u64(GET_STATUS) == status
    assert c.works()


@pytest.mark.parametrize('how', ['device', 'status'])
def test_reset_and_set_up_again(serve, client, how):
    c = client(serve(), protocol=P_ALL)
    for _ in range(3):
        assert c.front.tell_u64(SET_STATUS, 15) == 0
        assert c.works()
        if how == 'device':
            assert c.front.tell(RESET_DEVICE) == 0
        else:
            assert c.front.tell_u64(SET_STATUS, 0) == 0
        c.ring.close()
        c.memory.used = 0
        c.ring = c.rings[0] = SplitRing(c.front, c.memory).start()
    assert c.works()


@pytest.mark.parametrize('kind', ['split', 'packed'])
def test_a_ring_that_was_reset_begins_anew_in_its_area(serve, client, kind):
    """What the area says of where it was does not count any more."""
    c = client(serve(), kind=kind, start=False, protocol=P_ALL)
    fd, payload = c.front.inflight(1, c.ring.num)
    assert c.front.tell(SET_INFLIGHT_FD, payload, [fd]) == 0
    c.ring.start()
    for _ in range(3):
        assert c.works()
        assert c.front.tell(RESET_DEVICE) == 0
        c.ring.close()
        c.memory.used = 0
        c.ring = c.rings[0] = RINGS[kind][0](c.front, c.memory).start()
    assert c.works()
    os.close(fd)


def test_a_reset_device_has_its_write_cache(serve, client):
    c = client(serve(), features=F_CONFIG_WCE, protocol=P_ALL)
    assert c.front.tell(SET_CONFIG, struct.pack('<III', 32, 1, 0) + b'\0') == 0
    assert c.front.config()[32] == 0
    assert c.front.tell(RESET_DEVICE) == 0
    assert c.front.config()[32] == 1


def test_a_migrated_device_is_given_all_of_its_configuration(serve, client):
    """Of which only the write cache is taken over, wherever the piece begins that it lies in."""
    c = client(serve(), features=F_CONFIG_WCE, protocol=P_ALL)
    before = c.front.config()
    for offset, size, on in ((0, 60, 0), (0, 60, 1), (32, 28, 0), (0, 33, 1), (0, 32, 0), (33, 27, 0)):
        data = bytearray(b'\xff' * 60)
        data[32] = on
        assert c.front.tell(SET_CONFIG, struct.pack('<III', offset, size, 1) + bytes(data[offset:offset + size])) == 0
        within = offset <= 32 < offset + size
        assert c.front.config() == before[:32] + bytes([on if within else 1]) + before[33:]
    assert c.front.tell(SET_CONFIG, struct.pack('<III', 0, 60, 0) + before) != 0


@pytest.mark.parametrize('kind', ['split', 'packed'])
def test_where_a_ring_was_is_told_after_status_0(serve, client, kind):
    """QEMU 7.2 stops a device in this order, when it migrates it, too."""
    c = client(serve(), kind=kind, protocol=P_ALL)
    assert c.front.tell_u64(SET_STATUS, 15) == 0
    for _ in range(5):
        assert c.works()
        assert c.front.tell_u64(SET_STATUS, 0) == 0
        assert c.front.tell_state(SET_VRING_ENABLE, 0, 0) == 0
        c.ring.base = c.ring.stop()
        c.ring.start()
        assert c.front.tell_u64(SET_STATUS, 15) == 0
    assert c.works()


def test_reset_owner_disables_rings(serve, client):
    c = client(serve())
    assert c.front.tell(RESET_OWNER) == 0
    assert c.front.tell_state(SET_VRING_ENABLE, 0, 1) == 0
    assert c.works()


def qemu(front, ring, memory):
    """The order in which QEMU sets a disk up (hw/block/vhost-user-blk, hw/virtio/vhost), with a ring that is called late."""
    front.tell_u64(SET_FEATURES, F_PROTOCOL | F_VERSION_1 | F_FLUSH | F_INDIRECT | F_EVENT_IDX)
    fd, payload = front.inflight(1, ring.num)
    assert front.tell(SET_INFLIGHT_FD, payload, [fd]) == 0
    front.tell_u64(SET_VRING_CALL, 0, [ring.call_fd])
    front.tell_u64(SET_FEATURES, F_PROTOCOL | F_VERSION_1 | F_FLUSH)
    front.mem_table(memory)
    front.tell_state(SET_VRING_NUM, 0, ring.num)
    front.tell_state(SET_VRING_BASE, 0, 0)
    front.tell(SET_VRING_ADDR, ring.addr_payload())
    front.tell_u64(SET_VRING_KICK, 0, [ring.kick_fd])
    front.tell_state(SET_VRING_ENABLE, 0, 1)
    front.tell_u64(SET_VRING_CALL, 0, [ring.call_fd])


def cloud_hypervisor(front, ring, memory):
    """Memory first, rings enabled one by one after the kick."""
    front.tell_u64(SET_FEATURES, F_PROTOCOL | F_VERSION_1 | F_FLUSH)
    front.mem_table(memory)
    front.tell_state(SET_VRING_NUM, 0, ring.num)
    front.tell(SET_VRING_ADDR, ring.addr_payload())
    front.tell_state(SET_VRING_BASE, 0, 0)
    front.tell_u64(SET_VRING_CALL, 0, [ring.call_fd])
    front.tell_u64(SET_VRING_KICK, 0, [ring.kick_fd])
    front.tell_state(SET_VRING_ENABLE, 0, 1)


def libblkio(front, ring, memory):
    """Regions one at a time, ring enabled before it has a kick descriptor."""
    front.tell_u64(SET_FEATURES, F_PROTOCOL | F_VERSION_1 | F_FLUSH)
    assert front.tell(ADD_MEM_REG, bytes(8) + memory.region(), [memory.fd]) == 0
    front.tell_state(SET_VRING_NUM, 0, ring.num)
    front.tell_state(SET_VRING_BASE, 0, 0)
    front.tell(SET_VRING_ADDR, ring.addr_payload())
    front.tell_state(SET_VRING_ENABLE, 0, 1)
    front.tell_u64(SET_VRING_CALL, 0, [ring.call_fd])
    front.tell_u64(SET_VRING_KICK, 0, [ring.kick_fd])


@pytest.mark.parametrize('order', [qemu, cloud_hypervisor, libblkio])
def test_orders_of_known_front_ends(serve, order):
    with serve().connect() as front:
        front.negotiate(protocol=P_MQ | P_REPLY_ACK | P_CONFIG | P_INFLIGHT | P_MEM_SLOTS)
        memory = Memory()
        ring = SplitRing(front, memory)
        order(front, ring, memory)
        assert ring.write(0, b'o' * 512) == OK
        ring.close()
        memory.close()


def test_probe_connection_before_the_real_one(serve, client):
    """QEMU with reconnect= asks for features and configuration, and may go away again."""
    server = serve()
    for _ in range(5):
        with server.connect() as front:
            front.negotiate()
            front.config()
    assert client(server).works()


def test_client_goes_away_at_each_step(serve, client):
    server = serve()
    for kept in itertools.count():
        memory = Memory()
        with server.connect() as front:
            ring = SplitRing(front, memory)
            steps = [front.negotiate, lambda f=front, m=memory: f.mem_table(m)] + ring.steps()
            steps.append(lambda f=front: f.tell_state(SET_VRING_ENABLE, 0, 1))
            steps.append(lambda r=ring: [r.request(T_OUT, i, data=b'g' * 512) for i in range(10)])
            steps += [ring.publish, ring.kick]
            for step in steps[:kept]:
                step()
        ring.close()
        memory.close()
        if kept > len(steps):
            break
    assert client(server).works()


def test_client_goes_away_inside_a_message(serve, client):
    server = serve()
    message = struct.pack('<III', SET_FEATURES, 1, 8) + struct.pack('<Q', F_VERSION_1)
    for size in range(len(message)):
        with server.connect() as front:
            front.send_raw(message[:size])
    assert client(server).works()


def test_message_in_single_bytes(serve):
    with serve().connect() as front:
        for byte in struct.pack('<III', GET_FEATURES, 1, 0):
            front.send_raw(bytes([byte]))
        assert struct.unpack('<Q', front.receive(GET_FEATURES))[0] & F_VERSION_1


def test_messages_in_one_piece(serve):
    with serve().connect() as front:
        front.send_raw(struct.pack('<III', SET_OWNER, 1, 0) + struct.pack('<III', GET_FEATURES, 1, 0) * 3)
        for _ in range(3):
            front.receive(GET_FEATURES)
