# SPDX-License-Identifier: BSD-2-Clause
"""Queues: many requests at once, batches, waiting, cancelling."""
import array
import errno
import os
import select
import signal
import threading
import time

import pytest

import weft

BLOCK = 4096


def when_it_waits(queue, do):
    """A thread that does it once the calling one is inside a call of the queue (given by a function), without the GIL."""
    def look():
        while True:
            try:
                queue().info()
            except weft.BusyError:
                break
            except (AttributeError, weft.ThreadError):  # not opened yet; the other thread's, and idle
                pass
        do()

    thread = threading.Thread(target=look)
    thread.start()
    return thread


def interrupt(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_staged_requests_end_together(disk):
    with disk.queue(8) as queue:
        for i in range(8):
            queue.write(i * BLOCK, bytes([i]) * BLOCK, tag=i)
        ended = queue.wait(8)
        assert sorted(r.tag for r in ended) == list(range(8))
        assert all(r.done and r.errno == 0 and r.result() is None for r in ended)
        reads = [queue.read(i * BLOCK, BLOCK) for i in range(8)]
        queue.submit()
        assert [r.wait() for r in reads] == [bytes([i]) * BLOCK for i in range(8)]


def test_a_wait_for_one_leaves_the_others_to_be_taken(disk):
    with disk.queue(8) as queue:
        first, second = queue.read(0, BLOCK), queue.read(BLOCK, BLOCK)
        second.wait()
        assert queue.outstanding == 1 and queue.wait() == [first]
        assert second.wait() == second.result() == bytes(BLOCK)


def test_nothing_to_wait_for(disk):
    with disk.queue() as queue:
        assert queue.wait(5) == [] and queue.poll() == [] and queue.submit() == 0


def test_a_full_queue_says_so(held):
    device, opened = held
    with opened.queue(2) as queue:
        queue.read(0, BLOCK)
        queue.read(0, BLOCK)
        with pytest.raises(BlockingIOError) as e:
            queue.read(0, BLOCK)
        assert e.value.errno == errno.EAGAIN
        with pytest.raises(weft.FullError):
            queue.read_batch([0], bytearray(BLOCK), BLOCK)
        queue.submit()
        device.wait(2)
        device.let_go()
        assert len(queue.wait(2)) == 2


def test_a_request_in_flight_has_no_result(held):
    device, opened = held
    with opened.queue() as queue:
        request = queue.read(0, BLOCK)
        assert not request.done and request.errno is None and 'in flight' in repr(request)
        with pytest.raises(weft.PendingError):
            request.result()
        with pytest.raises(weft.BusyError, match='1 requests are in flight'):
            queue.close()
        with pytest.raises(weft.BusyError):
            opened.close()
        begun = time.monotonic()
        assert queue.wait(1, 0.05) == [] and time.monotonic() - begun >= 0.05
        queue.submit()
        device.wait()
        device.let_go()
        assert queue.wait() == [request]


@pytest.mark.parametrize('offsets', [list, lambda o: array.array('Q', o), lambda o: array.array('q', o), tuple])
def test_a_batch_reads_each_piece(disk, offsets):
    disk.write(0, b''.join(bytes([i]) * BLOCK for i in range(200)))
    wanted = [(i * 37 % 200) * BLOCK for i in range(200)]
    buffer = bytearray(200 * BLOCK)
    with disk.queue(16) as queue:
        assert queue.read_batch(offsets(wanted), buffer, BLOCK) == 0
    for i, offset in enumerate(wanted):
        assert buffer[i * BLOCK:(i + 1) * BLOCK] == bytes([offset // BLOCK]) * BLOCK


def test_a_batch_writes(disk):
    data = os.urandom(64 * BLOCK)
    with disk.queue(16) as queue:
        assert queue.write_batch([(63 - i) * BLOCK for i in range(64)], data, BLOCK, flags=weft.FUA) == 0
    assert disk.read(5 * BLOCK, BLOCK) == data[58 * BLOCK:59 * BLOCK]


def test_a_batch_tells_which_failed(disk):
    results = array.array('i', [1] * 4)
    with disk.queue() as queue:
        assert queue.read_batch([0, 1, 1 << 30, BLOCK], bytearray(4 * BLOCK), BLOCK, results) == 2
        assert list(results) == [0, -errno.EINVAL, -errno.ERANGE, 0]
        with pytest.raises(weft.Error, match='the 1. of a batch .2 failed') as e:
            queue.read_batch([0, 1, 1 << 30, BLOCK], bytearray(4 * BLOCK), BLOCK)
        assert e.value.errno == errno.EINVAL
        assert queue.read_batch([], bytearray(), BLOCK) == 0


@pytest.mark.parametrize('arguments, kind', [
    (([0, 0], bytearray(BLOCK), BLOCK), ValueError),
    (([0], bytearray(BLOCK), 0), ValueError),
    (([0], bytearray(BLOCK), 1 << 40), ValueError),
    (([-1], bytearray(BLOCK), BLOCK), ValueError),
    (([2**64], bytearray(BLOCK), BLOCK), ValueError),
    ((array.array('i', [0]), bytearray(BLOCK), BLOCK), ValueError),
    ((array.array('d', [0]), bytearray(BLOCK), BLOCK), ValueError),
    (([0], bytes(BLOCK), BLOCK), BufferError),
    (([0], bytearray(BLOCK), BLOCK, array.array('i')), ValueError),
    (([0], bytearray(BLOCK), BLOCK, array.array('q', [0])), ValueError),
    (([0], bytearray(BLOCK), BLOCK, b'xxxx'), BufferError),
    ((['a'], bytearray(BLOCK), BLOCK), TypeError),
    ((None, bytearray(BLOCK), BLOCK), TypeError),
])
def test_batches_that_are_none(disk, arguments, kind):
    with disk.queue() as queue:
        with pytest.raises(kind):
            queue.read_batch(*arguments)
        assert queue.read_batch([0], bytearray(BLOCK), BLOCK) == 0


def test_a_batch_beside_single_requests(disk):
    with disk.queue(8) as queue:
        single = queue.read(0, BLOCK, tag='single')
        assert queue.read_batch([0] * 50, bytearray(50 * BLOCK), BLOCK) == 0
        assert queue.wait() == [single]


def test_a_cancelled_request_ends_canceled(instance):
    with instance.open('delay:[mem:1MiB],read=1h') as slow, slow.queue() as queue:
        request = queue.read(0, BLOCK)
        assert queue.wait(1, 0.01) == [] and request.cancel()
        with pytest.raises(weft.CanceledError):
            request.wait()
        assert not request.cancel()


def test_the_gil_is_away_while_waiting(held):
    device, opened = held
    with opened.queue() as queue:
        queue.read(0, BLOCK)
        queue.submit()
        device.wait()
        other = when_it_waits(lambda: queue, device.let_go)
        assert len(queue.wait()) == 1
        other.join()


def test_the_descriptor_tells_of_completions(held):
    device, opened = held
    with opened.queue() as queue:
        queue.read(0, BLOCK)
        queue.submit()
        queue.notify(True)
        poller = select.poll()
        poller.register(queue.fileno(), select.POLLIN)
        device.wait()
        device.let_go()
        ended = []
        while not ended:
            assert poller.poll(10000), 'the completion was not told'
            ended = queue.poll()
        queue.notify(False)


def test_ctrl_c_ends_a_wait_and_the_request_is_still_there(held):
    device, opened = held
    with opened.queue() as queue:
        request = queue.read(0, BLOCK)
        other = when_it_waits(lambda: queue, interrupt)
        with pytest.raises(KeyboardInterrupt):
            request.wait()
        other.join()
        assert not request.done
        queue.submit()
        device.wait()
        device.let_go()
        assert request.wait() == bytes(BLOCK)


def test_ctrl_c_ends_a_batch_with_nothing_in_flight(instance):
    with instance.open('delay:[mem:1MiB],read=1h') as slow, slow.queue(4) as queue:
        other = when_it_waits(lambda: queue, interrupt)
        with pytest.raises(KeyboardInterrupt):
            queue.read_batch([0] * 100, bytearray(100 * BLOCK), BLOCK)
        other.join()
        assert queue.outstanding == 0 and queue.info()['in_flight'] == 0


def test_ctrl_c_ends_a_devices_own_call(instance):
    with instance.open('delay:[mem:1MiB],read=1h') as slow:
        other = when_it_waits(lambda: slow._turns, interrupt)
        with pytest.raises(KeyboardInterrupt):
            slow.read(0, BLOCK)
        other.join()
        slow.write(0, bytes(BLOCK))


def test_a_signals_handler_may_use_the_device(instance):
    seen = []
    with instance.open('delay:[mem:1MiB],read=1h') as slow:
        before = signal.signal(signal.SIGUSR1, lambda *_: (slow.write(0, bytes(BLOCK)), seen.append(1), 1 / 0))
        try:
            other = when_it_waits(lambda: slow._turns, lambda: interrupt(signal.SIGUSR1))
            with pytest.raises(ZeroDivisionError):
                slow.read(0, BLOCK)
            other.join()
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert seen == [1]


def test_a_queue_is_handed_to_another_thread(disk):
    def work():
        try:
            queue.read(0, BLOCK)
        except weft.ThreadError as e:
            said.append(str(e))
        queue.adopt()
        said.append(queue.read(0, BLOCK).wait())

    said = []
    queue = disk.queue()
    other = threading.Thread(target=work)
    other.start()
    other.join()
    assert 'another thread' in said[0] and said[1] == bytes(BLOCK)
    with pytest.raises(PermissionError):
        queue.poll()
    queue.adopt()
    queue.close()


def test_each_thread_has_its_queue(disk):
    def work(n):
        with disk.queue(16) as queue:
            for _ in range(20):
                queue.write_batch([n * BLOCK] * 8, bytes([n]) * 8 * BLOCK, BLOCK)
            done.append(n)

    done = []
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(done) == [0, 1, 2, 3]
    assert [disk.read(n * BLOCK, 1 * 512)[0] for n in range(4)] == [0, 1, 2, 3]
