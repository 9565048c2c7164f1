# SPDX-License-Identifier: BSD-2-Clause
"""Memory that devices use in place."""
import os

import pytest

import weft

BLOCK = 4096


def test_memory_is_a_buffer(instance, disk):
    with instance.memory(2 * BLOCK) as memory:
        assert len(memory) == 2 * BLOCK and bytes(memory) == bytes(2 * BLOCK)
        with memoryview(memory) as view:
            view[:BLOCK] = b'a' * BLOCK
            disk.write(0, view[:BLOCK])
            disk.readinto(0, view[BLOCK:])
            assert view[BLOCK:] == b'a' * BLOCK


def test_requests_find_registered_memory(instance, disk):
    with instance.memory(BLOCK) as memory, disk.queue() as queue:
        queue.readinto(0, memory).wait()
        assert queue.info()['outside'] == 0
        queue.readinto(0, bytearray(BLOCK)).wait()
        assert queue.info()['outside'] == 1


def test_memory_with_views_is_not_closed(instance):
    memory = instance.memory(BLOCK)
    with memoryview(memory), pytest.raises(weft.BusyError, match='views'):
        memory.close()
    memory.close()
    memory.close()
    assert memory.closed and len(memory) == 0
    with pytest.raises(weft.ClosedError):
        memoryview(memory)
    with pytest.raises(weft.ClosedError):
        memory.fileno()


def test_memory_in_flight_is_not_closed(instance, held):
    device, opened = held
    with instance.memory(BLOCK) as memory, opened.queue() as queue:
        queue.readinto(0, memory)
        with pytest.raises(weft.BusyError):
            memory.close()
        queue.submit()
        device.wait()
        device.let_go()
        queue.drain()


def test_the_memory_of_a_descriptor_is_shared(instance):
    with instance.memory(BLOCK) as memory, instance.map(memory.fileno(), 0, BLOCK) as same:
        with memoryview(memory) as view:
            view[5] = 7
        assert bytes(same)[5] == 7
        assert os.fstat(memory.fileno()).st_size == BLOCK


def test_a_buffer_of_the_programs_own(instance, disk):
    buffer = bytearray(4 * BLOCK)
    memory = instance.register(buffer)
    with pytest.raises(BufferError):
        buffer.append(1)
    with disk.queue() as queue:
        queue.readinto(0, memoryview(buffer)[BLOCK:2 * BLOCK]).wait()
        assert queue.info()['outside'] == 0
    with pytest.raises(weft.Error, match='no descriptor'):
        memory.fileno()
    with pytest.raises(weft.ExistsError, match='registered already'):
        instance.register(buffer)
    memory.close()
    buffer.append(1)


@pytest.mark.parametrize('call, kind', [
    (lambda i: i.memory(0), weft.Error),
    (lambda i: i.memory(-1), ValueError),
    (lambda i: i.memory(1 << 60), weft.Error),
    (lambda i: i.memory('x'), TypeError),
    (lambda i: i.map(-1, 0, BLOCK), weft.ClosedError),
    (lambda i: i.map(10**6, 0, BLOCK), weft.ClosedError),
    (lambda i: i.register(bytes(BLOCK)), BufferError),
    (lambda i: i.register(bytearray()), weft.Error),
    (lambda i: i.register(5), TypeError),
])
def test_memory_that_is_none(instance, call, kind):
    with pytest.raises(kind):
        call(instance)
