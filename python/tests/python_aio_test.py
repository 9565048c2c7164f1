# SPDX-License-Identifier: BSD-2-Clause
"""weft.aio: the same with asyncio."""
import asyncio
import functools
import os
import threading

import pytest

import weft
import weft.aio

BLOCK = 4096


def run_in_loop(test):
    """A test that is a coroutine; what a callback raised fails it."""
    @functools.wraps(test)
    def run(*arguments, **more):
        async def whole():
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: wrong.append(context))
            await asyncio.wait_for(test(*arguments, **more), 60)

        wrong = []
        asyncio.run(whole())
        assert wrong == []
    return run


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


async def until_in_flight(disk, count):
    await until(lambda: disk._queue.info()['in_flight'] == count)


@run_in_loop
async def test_data_comes_back(instance):
    async with weft.aio.open('mem:1MiB', instance=instance) as disk:
        await disk.write(BLOCK, b'a' * BLOCK, flags=weft.FUA)
        assert await disk.read(BLOCK, BLOCK) == b'a' * BLOCK
        buffer = bytearray(BLOCK)
        assert await disk.readinto(BLOCK, buffer) == BLOCK and buffer == b'a' * BLOCK
        await disk.copy(2 * BLOCK, BLOCK, BLOCK)
        await disk.zero(BLOCK, BLOCK)
        await disk.discard(512 << 10, 64 << 10)
        await disk.flush()
        assert await disk.read(BLOCK, 2 * BLOCK) == bytes(BLOCK) + b'a' * BLOCK
        assert sum([e.length async for e in disk.status()]) == disk.size == 1 << 20


@run_in_loop
async def test_more_than_the_queue_takes(instance):
    async with weft.aio.open('mem:1MiB', depth=4, instance=instance) as disk:
        await asyncio.gather(*[disk.write(i * BLOCK, bytes([i]) * BLOCK) for i in range(200)])
        blocks = await asyncio.gather(*[disk.read(i * BLOCK, BLOCK) for i in range(200)])
        assert [b[0] for b in blocks] == [i for i in range(200)]


@run_in_loop
async def test_errors_are_raised(instance):
    async with weft.aio.open('mem:1MiB', instance=instance) as disk:
        with pytest.raises(weft.RangeError):
            await disk.read(1 << 20, BLOCK)
        with pytest.raises(ValueError):
            await disk.read(-1, BLOCK)
        with pytest.raises(weft.UnsupportedError):
            await disk.compare_write(0, bytes(512), bytes(512))
    with pytest.raises(weft.ClosedError):
        await disk.read(0, BLOCK)
    await disk.close()


@run_in_loop
async def test_what_cannot_be_opened(instance):
    with pytest.raises(weft.NotFoundError):
        await weft.aio.open('file:/no/such/folder/disk.img', instance=instance)
    disk = await weft.aio.open('mem:1MiB', instance=instance)
    await disk.close()


@run_in_loop
async def test_a_file(instance, tmp_path):
    async with weft.aio.open(f'file:{tmp_path}/disk.img,create=1MiB', instance=instance) as disk:
        data = os.urandom(64 * BLOCK)
        await asyncio.gather(*[disk.write(i * BLOCK, data[i * BLOCK:(i + 1) * BLOCK]) for i in range(64)])
        await disk.flush()
        assert await disk.read(0, 64 * BLOCK) == data


@run_in_loop
async def test_resizing(instance, tmp_path):
    async with weft.aio.open(f'file:{tmp_path}/disk.img,create=1MiB', instance=instance) as disk:
        seen = asyncio.create_task(disk.resized())
        await asyncio.sleep(0)
        await disk.resize(2 << 20)
        assert await seen == disk.size == 2 << 20
        with pytest.raises(weft.Error, match='multiple'):
            await disk.resize(1000)


@run_in_loop
async def test_a_cancelled_task_cancels_its_request(instance):
    async with weft.aio.open('delay:[mem:1MiB],read=1h', instance=instance) as slow:
        buffer = bytearray(BLOCK)
        task = asyncio.create_task(slow.readinto(0, buffer))
        await until_in_flight(slow, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await slow.drain()
        buffer.append(1)


@run_in_loop
async def test_the_buffer_is_held_until_the_request_has_ended(instance, held):
    device, _ = held
    async with weft.aio.open('python:held', instance=instance) as disk:
        buffer = bytearray(BLOCK)
        task = asyncio.create_task(disk.readinto(0, buffer))
        await until(lambda: device.views)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(BufferError):
            buffer.append(1)
        device.views[0][:] = b'x' * BLOCK
        device.let_go()
        await disk.drain()
        assert buffer == b'x' * BLOCK
        buffer.append(1)


@run_in_loop
async def test_closing_cancels_what_is_in_flight_and_what_waits(instance):
    disk = await weft.aio.open('delay:[mem:1MiB],read=1h', depth=2, instance=instance)
    tasks = [asyncio.create_task(disk.read(0, BLOCK)) for _ in range(4)]
    await until_in_flight(disk, 2)
    await until(lambda: len(disk._waiting) == 2)
    await disk.close()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(e, (weft.CanceledError, weft.ClosedError)) for e in ends)


@run_in_loop
async def test_a_task_that_waits_for_room_is_cancelled(instance, held):
    device, _ = held
    async with weft.aio.open('python:held', depth=1, instance=instance) as disk:
        tasks = [asyncio.create_task(disk.read(0, BLOCK)) for _ in range(3)]
        await until(lambda: device.views)
        tasks[1].cancel()
        device.let_go()
        await until(lambda: device.views)
        device.let_go()
        assert await tasks[0] == await tasks[2] == bytes(BLOCK) and tasks[1].cancelled()


@run_in_loop
async def test_opening_is_cancelled(instance):
    opening = asyncio.create_task(weft.aio.open('mem:1MiB', instance=instance)._open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    loop = asyncio.get_running_loop()
    await until(lambda: instance not in weft.aio._events[loop])


@run_in_loop
async def test_it_takes_turns_only_when_there_is_something(instance, held, monkeypatch):
    """While a request is in flight, and afterwards, the loop goes round without a turn of the queue."""
    def counting(queue):
        polls[queue] = polls.get(queue, 0) + 1
        return poll(queue)

    async def rounds():
        for _ in range(1000):
            await asyncio.sleep(0)

    poll, polls, (device, _) = weft.Queue.poll, {}, held
    monkeypatch.setattr(weft.Queue, 'poll', counting)
    async with weft.aio.open('python:held', instance=instance) as disk, weft.aio.open('mem:1MiB', instance=instance) as other:
        task = asyncio.create_task(disk.read(0, BLOCK))
        await until(lambda: device.views)
        for _ in range(100):
            await other.read(0, BLOCK)
        await rounds()
        assert 1 <= polls[disk._queue] <= 8
        device.let_go()
        await task
        await rounds()
        assert polls[disk._queue] <= 16


def test_two_loops_share_an_instance(instance):
    def work():
        async def whole():
            async with weft.aio.open('mem:1MiB', instance=instance) as disk:
                for i in range(50):
                    await disk.write(i * BLOCK, bytes([i]) * BLOCK)
                done.append(await disk.read(49 * BLOCK, 1 * BLOCK) == bytes([49]) * BLOCK)
        asyncio.run(whole())

    done = []
    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done == [True] * 3


@run_in_loop
async def test_it_is_of_its_loops_thread(instance):
    async with weft.aio.open('mem:1MiB', instance=instance) as disk:
        def elsewhere():
            with pytest.raises(weft.ThreadError):
                disk._queue.read(0, BLOCK)
            return disk.device.info().size

        assert await asyncio.get_running_loop().run_in_executor(None, elsewhere) == 1 << 20
