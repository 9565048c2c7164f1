# SPDX-License-Identifier: BSD-2-Clause
"""What programs do wrong is an exception, never a crash; what they leave lying about is cleared away."""
import contextlib
import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

import weft
from weft import _errors
from built import PACKAGE, environment

BLOCK = 4096

REQUESTS = [
    lambda d: d.read(0, BLOCK),
    lambda d: d.readinto(0, bytearray(BLOCK)),
    lambda d: d.write(0, bytes(BLOCK)),
    lambda d: d.flush(),
    lambda d: d.discard(0, BLOCK),
    lambda d: d.zero(0, BLOCK),
    lambda d: d.compare_write(0, bytes(512), bytes(512)),
    lambda d: d.copy(0, BLOCK, BLOCK),
]
TURNS = [lambda q: q.submit(), lambda q: q.poll(), lambda q: q.wait(), lambda q: q.cancel_all(), lambda q: q.info(),
         lambda q: q.fileno(), lambda q: q.notify(True), lambda q: q.adopt(), lambda q: q.read_batch([0], bytearray(512), 512),
         lambda q: q.status(0, BLOCK)]


@pytest.mark.parametrize('call', REQUESTS + [lambda d: d.info(), lambda d: d.size, lambda d: d.stats(), lambda d: d.queue(),
                                             lambda d: d.resize(BLOCK), lambda d: d.properties['size'],
                                             lambda d: list(d.properties), lambda d: list(d.status()), lambda d: d.serve('x:y')])
def test_a_closed_device(disk, call):
    disk.close()
    assert disk.closed
    with pytest.raises(weft.ClosedError, match='closed'):
        call(disk)
    disk.close()


@pytest.mark.parametrize('call', REQUESTS + TURNS)
def test_a_closed_queue(disk, call):
    queue = disk.queue()
    queue.close()
    queue.close()
    with pytest.raises(weft.ClosedError, match='closed'):
        call(queue)


@pytest.mark.parametrize('call', REQUESTS + TURNS[:-3] + TURNS[-2:])
def test_a_queue_of_another_thread(disk, call):
    def work():
        try:
            call(queue)
        except weft.ThreadError as e:
            said.append(str(e))

    said = []
    with disk.queue() as queue:
        other = threading.Thread(target=work)
        other.start()
        other.join()
    assert len(said) == 1 and 'another thread' in said[0]


def test_a_queue_that_another_thread_waits_in(held):
    device, opened = held
    queue = opened.queue()
    queue.read(0, BLOCK)
    refused = []

    def look():
        device.wait()
        for call in [*REQUESTS[:1], *TURNS[:3], lambda q: q.adopt(), lambda q: q.close()]:
            with pytest.raises(weft.Error) as e:
                call(queue)
            refused.append(type(e.value))
        device.let_go()

    other = threading.Thread(target=look)
    other.start()
    assert len(queue.wait()) == 1
    other.join()
    assert refused == [weft.BusyError] * 6
    queue.close()


@pytest.mark.parametrize('call', [lambda i: i.open('mem:1MiB'), lambda i: i.memory(BLOCK), lambda i: i.event(),
                                  lambda i: i.event_fd(), lambda i: i.kinds(), lambda i: i.load('x.so')])
def test_a_closed_instance(call):
    instance = weft.Instance()
    instance.close()
    instance.close()
    with pytest.raises(weft.ClosedError, match='instance'):
        call(instance)


@pytest.mark.parametrize('call, kind', [
    (lambda d: d.read(-1, BLOCK), ValueError),
    (lambda d: d.read(0, -1), ValueError),
    (lambda d: d.read(2**64, BLOCK), ValueError),
    (lambda d: d.read(0, 2**63), ValueError),
    (lambda d: d.read(0, weft.MAX_LEN + 1), ValueError),
    (lambda d: d.read('0', BLOCK), TypeError),
    (lambda d: d.read(0.0, BLOCK), TypeError),
    (lambda d: d.read(), TypeError),
    (lambda d: d.readinto(0, bytes(BLOCK)), BufferError),
    (lambda d: d.readinto(0, memoryview(bytearray(BLOCK))[::2]), BufferError),
    (lambda d: d.readinto(0, None), TypeError),
    (lambda d: d.readinto(0, [bytearray(512), None]), TypeError),
    (lambda d: d.readinto(0, [bytearray(512)] * (weft.IOV_MAX + 1)), ValueError),
    (lambda d: d.write(0, 'text'), TypeError),
    (lambda d: d.write(0, b'x' * 512, flags=2**40), ValueError),
    (lambda d: d.write(0, b'x' * 512, flags=-1), ValueError),
    (lambda d: d.zero(0, 2**64 - 512), weft.RangeError),
    (lambda d: d.zero(2**64 - 512, 1024), weft.RangeError),
    (lambda d: d.copy(0, 2**64 - 512, 1024), weft.RangeError),
    (lambda d: d.compare_write(0, bytes(512), bytes(1024)), ValueError),
    (lambda d: d.compare_write(0, bytes(512), None), TypeError),
    (lambda d: d.resize(-1), ValueError),
    (lambda d: d.queue(0), weft.Error),
    (lambda d: d.queue(2**31), weft.Error),
    (lambda d: d.queue(2**32 + 1), ValueError),
    (lambda d: d.queue(mode='fast'), ValueError),
    (lambda d: d.serve('vhost-user:'), weft.Error),
    (lambda d: d.serve('nix:there'), weft.Error),
    (lambda d: weft.Queue('x'), TypeError),
    (lambda d: weft.Device(), TypeError),
    (lambda d: weft.Request(), TypeError),
    (lambda d: weft.Memory(), TypeError),
    (lambda d: type('More', (weft.Request,), {}), TypeError),
    (lambda d: weft.Instance(service=0), weft.Error),
    (lambda d: weft.Instance(mode='fast'), ValueError),
    (lambda d: d.instance.event(-1), ValueError),
    (lambda d: d.instance.event(float('nan')), ValueError),
    (lambda d: d.instance.open(None), TypeError),
    (lambda d: d.instance.open('mem:1\0'), ValueError),
    (lambda d: d.instance.load('/no/such.so'), weft.Error),
    (lambda d: d.instance.__init__(), RuntimeError),
])
def test_wrong_arguments(disk, call, kind):
    with pytest.raises(kind):
        call(disk)
    assert disk.read(0, 512) == bytes(512)


def test_a_queue_is_opened_once(disk):
    with disk.queue() as queue:
        with pytest.raises(weft.ClosedError):
            queue.__init__(disk)
        assert queue.read(0, 512).wait() == bytes(512)
    empty = weft.Queue.__new__(weft.Queue)
    with pytest.raises(weft.ClosedError):
        empty.poll()


def test_a_buffer_whose_getting_closes_the_queue(disk):
    class Odd(list):
        def __getitem__(self, i):
            queue.close()
            return bytearray(512)

    queue = disk.queue()
    queue_read = queue.readinto
    # list subclasses are taken apart by the list's own means: whether Odd is asked or not, nothing may break
    try:
        queue_read(0, Odd([bytearray(512)])).wait()
        queue.close()
    except weft.ClosedError:
        pass


def test_what_is_in_flight_keeps_its_buffer(held):
    device, opened = held
    buffer = bytearray(BLOCK)
    with opened.queue() as queue:
        request = queue.readinto(0, buffer)
        with pytest.raises(BufferError):
            buffer.append(1)
        queue.submit()
        device.wait()
        device.let_go()
        request.wait()
        buffer.append(1)


def test_a_dropped_queue_waits_for_what_is_in_flight(instance):
    with instance.open('delay:[mem:1MiB],read=1h') as slow:
        buffer = bytearray(BLOCK)
        queue = slow.queue()
        request = queue.readinto(0, buffer)
        queue.submit()
        del queue
        gc.collect()
        assert request.done
        with pytest.raises(weft.CanceledError):
            request.result()
        buffer.append(1)


def test_a_queue_dropped_by_another_thread(disk):
    holder = [disk.queue()]
    holder[0].read(0, BLOCK)
    other = threading.Thread(target=holder.clear)
    other.start()
    other.join()


def test_dropped_objects_are_closed(instance):
    device = instance.open('mem:1MiB')
    queue = device.queue()
    device.read(0, 512)
    gone = [weakref.ref(device), weakref.ref(queue)]
    memory = instance.memory(BLOCK)
    del device, queue, memory
    gc.collect()
    assert [g() for g in gone] == [None, None]
    # the instance's fixture finds out whether their handles are


def test_no_cycle_keeps_a_request(disk):
    class Tag:
        pass

    with disk.queue() as queue:
        tag = Tag()
        tag.request = queue.read(0, 512, tag=tag)
        tag.request.wait()
        gone = weakref.ref(tag)
        del tag
        gc.collect()
        assert gone() is None


def test_nothing_grows(instance):
    def once():
        with instance.open('mem:1MiB') as device, device.queue(4) as queue, instance.memory(BLOCK) as memory:
            queue.readinto(0, memory).wait()
            with pytest.raises(weft.Error):
                queue.read(1, 1).wait()
            with pytest.raises(weft.Error):
                queue.read_batch([0, 1], bytearray(1024), 512)
            list(device.properties), list(device.status())

    def counts():
        gc.collect()
        return len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task')), len(gc.get_objects())

    for _ in range(3):
        once()
    before = counts()
    for _ in range(200):
        once()
    after = counts()
    assert after[0] <= before[0] and after[1] <= before[1] and after[2] - before[2] < 100


class Tag:
    """Of something that was begun; never called here."""


def begin_open(instance, tag, text='mem:1MiB'):
    instance._open_begin(text, tag)


def begin_close(instance, tag):
    instance.open('mem:1MiB')._close_begin(tag)


@pytest.mark.parametrize('begin', [begin_open, lambda i, t: begin_open(i, t, 'nope:'), begin_close])
@pytest.mark.parametrize('taken', [True, False])
def test_what_was_begun_in_a_dropped_instance_ends(begin, taken):
    """Its event comes or is dropped, its tag is let go, and no thread is left."""
    def threads():
        return set(os.listdir('/proc/self/task'))

    before = threads()  # some of earlier tests may be about to end
    instance, tag = weft.Instance(quiet=True), Tag()
    gone = weakref.ref(tag)
    begin(instance, tag)
    del tag
    if taken:
        event = instance._event(weft.Device, 10)
        assert event[2] is gone()
        del event
    del instance
    gc.collect()
    assert gone() is None and threads() <= before


def test_a_closed_instance_lets_go_of_what_was_begun():
    instance, tag = weft.Instance(quiet=True), Tag()
    gone = weakref.ref(tag)
    instance.open('mem:1MiB')._close_begin(tag)
    del tag
    while not instance.closed:
        with contextlib.suppress(weft.BusyError):  # it has not ended yet
            instance.close()
    assert gone() is None


def test_an_instance_with_something_open_stays_open():
    instance = weft.Instance()
    device = instance.open('mem:1MiB')
    with pytest.raises(weft.BusyError, match='device'):
        instance.close()
    device.close()
    instance.close()


def python(script, folder='/'):
    return subprocess.run(['/usr/bin/python3', '-X', 'dev', '-c', script], cwd=folder, env=environment(),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          check=False)


def test_a_process_may_end_with_everything_open(folder):
    done = python('''
import weft
from weft import _errors
class Ram:
    size = 1 << 20
    def read(self, offset, view): pass
weft.register('ram', Ram())
disk = weft.open('python:ram')
export = disk.serve('vhost-user:vm.sock')
queue = disk.queue()
queue.read(0, 512)
memory = weft.instance().memory(4096)
view = memoryview(memory)
disk.read(0, 512)
print('end')
''', folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, 'end\n', '')
    assert os.listdir(folder) == []


def test_a_forked_child_is_refused(folder):
    done = python('''
import os, weft
disk = weft.open('mem:1MiB')
queue = disk.queue()
memory = weft.instance().memory(4096)
def refused(call):
    try:
        call()
    except weft.ThreadError as e:
        assert 'forked' in str(e)
    else:
        os._exit(1)
pid = os.fork()
if pid == 0:
    for call in (lambda: disk.read(0, 512), lambda: queue.poll(), lambda: queue.read(0, 512), disk.info, disk.close, queue.close,
                 memory.close, lambda: weft.open('mem:1MiB'), weft.Instance, lambda: weft.instance().event()):
        refused(call)
    del disk, queue, memory
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert disk.read(0, 512) == bytes(512)
''', folder)
    assert (done.returncode, done.stderr) == (0, '')


def test_the_module_is_of_the_stable_abi():
    out = subprocess.run(['nm', '-D', '--undefined-only', os.path.join(PACKAGE, 'weft/_core.abi3.so')], stdout=subprocess.PIPE,
                         text=True, check=True).stdout
    private = [s.split()[-1] for s in out.splitlines() if ' _Py' in s and not s.split()[-1].startswith(('_Py_NoneStruct',
               '_Py_TrueStruct', '_Py_FalseStruct', '_Py_Dealloc', '_PyObject_New'))]
    assert private == [] and 'weft_queue_read' in out and sys.version_info >= (3, 11)


def test_everything_public_is_there():
    assert all(hasattr(weft, name) for name in weft.__all__)
    assert {e.__name__ for e in _errors.CLASSES.values()} < set(weft.__all__)
    assert os.path.exists(os.path.join(PACKAGE, 'weft/py.typed'))
