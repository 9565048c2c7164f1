# SPDX-License-Identifier: BSD-2-Clause
"""Devices written in Python: opened, composed, served over vhost-user."""
import errno
import gc
import os
import subprocess
import sys
import threading
import warnings

import pytest

import weft
from built import BUILD

BLOCK = 4096


class Ram:
    size = 1 << 20
    block = 512

    def __init__(self):
        self.data = bytearray(self.size)
        self.calls = []

    def read(self, offset, view):
        self.calls.append(('read', offset, len(view)))
        view[:] = self.data[offset:offset + len(view)]

    def write(self, offset, view):
        assert view.readonly
        self.calls.append(('write', offset, len(view)))
        self.data[offset:offset + len(view)] = view

    def flush(self):
        self.calls.append(('flush',))

    def zero(self, offset, length):
        self.data[offset:offset + length] = bytes(length)

    def compare_write(self, offset, compare, write):
        if self.data[offset:offset + len(compare)] != compare:
            raise weft.MiscompareError(errno.EILSEQ, 'other bytes')
        self.data[offset:offset + len(write)] = write


@pytest.fixture
def ram():
    device = Ram()
    with weft.register('ram', device):
        yield device


def test_data_comes_back(instance, ram):
    with instance.open('python:ram') as disk:
        disk.write(BLOCK, b'a' * BLOCK)
        assert disk.read(BLOCK, BLOCK) == b'a' * BLOCK and ram.data[BLOCK:2 * BLOCK] == b'a' * BLOCK
        disk.flush()
        assert ram.calls[-1] == ('flush',)
        info = disk.info()
        assert (info.size, info.volatile_cache, info.readonly) == (1 << 20, True, False)


def test_it_is_composed_with_other_devices(instance, ram):
    with instance.open('mirror:[slice:[python:ram],offset=512KiB],[mem:512KiB]') as disk:
        disk.write(0, b'b' * BLOCK)
        assert ram.data[512 << 10:(512 << 10) + BLOCK] == b'b' * BLOCK


def test_pieces_come_one_by_one(instance, ram):
    with instance.open('python:ram') as disk:
        disk.write(0, [b'c' * 512, b'd' * 1024])
        assert ram.calls == [('write', 0, 512), ('write', 512, 1024)]


def test_fua_is_a_write_and_a_flush(instance, ram):
    with instance.open('python:ram') as disk:
        disk.write(0, b'c' * 512, flags=weft.FUA)
        assert ram.calls == [('write', 0, 512), ('flush',)]


def test_compare_and_write(instance, ram):
    with instance.open('python:ram') as disk:
        disk.compare_write(512, bytes(1024), b'e' * 1024)
        assert ram.data[512:1536] == b'e' * 1024
        with pytest.raises(weft.MiscompareError) as e:
            disk.compare_write(512, bytes(1024), b'f' * 1024)
        assert e.value.errno == errno.EILSEQ and ram.data[512:1536] == b'e' * 1024


def test_what_it_has_not_is_made_or_refused(instance, ram):
    with instance.open('python:ram') as disk:
        disk.write(0, b'g' * BLOCK)
        disk.zero(0, 512)
        disk.copy(8192, 0, BLOCK)
        assert disk.read(8192, BLOCK) == bytes(512) + b'g' * (BLOCK - 512)
        with pytest.raises(weft.UnsupportedError):
            disk.discard(0, BLOCK)


@pytest.mark.parametrize('raised, number', [(OSError(errno.ENOSPC, 'full'), errno.ENOSPC), (OSError('odd'), errno.EIO),
                                            (NotImplementedError(), errno.EOPNOTSUPP), (OSError(-5, 'odd'), errno.EIO)])
def test_what_it_raises_is_the_requests_status(instance, ram, raised, number):
    def read(offset, view):
        raise raised
    ram.read = read
    with weft.register('raises', ram), instance.open('python:raises') as disk:
        with pytest.raises(weft.Error) as e:
            disk.read(0, BLOCK)
        assert e.value.errno == number


def test_its_bugs_are_shown(instance, ram, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, 'unraisablehook', seen.append)
    ram.write = lambda offset: None
    with weft.register('bug', ram), instance.open('python:bug') as disk:
        with pytest.raises(weft.Error) as e:
            disk.write(0, bytes(512))
        assert e.value.errno == errno.EIO
    assert seen[0].exc_type is TypeError


def test_a_view_is_of_no_use_afterwards(instance, ram):
    kept = []
    ram.read = lambda offset, view: kept.append(view)
    with weft.register('keeps', ram), instance.open('python:keeps') as disk:
        disk.read(0, 512)
        with pytest.raises(ValueError, match='released'):
            kept[0][0]


def test_a_kept_part_of_a_view_holds_its_request(instance, ram):
    kept = []
    ram.read = lambda offset, view: kept.append(view[:10])
    with weft.register('keeps', ram), instance.open('python:keeps') as disk, disk.queue() as queue:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            request = queue.readinto(0, bytearray(512))
            while not said:
                queue.wait(1, 0.01)
        assert 'kept a part' in str(said[0].message) and not request.done
        kept[0][:] = b'0123456789'
        kept.pop().release()
        request.wait()


def test_a_name_is_used_once(ram):
    with pytest.raises(weft.ExistsError, match='another name'):
        weft.register('ram', ram)


def test_it_is_not_unregistered_while_it_is_open(instance, ram):
    other = weft.register('other', ram)
    with instance.open('python:other') as disk:
        with pytest.raises(weft.BusyError, match='open'):
            other.close()
        assert disk.read(0, 512) == bytes(512)
    other.close()
    other.close()
    with pytest.raises(weft.NotFoundError):
        instance.open('python:other')
    assert 'weft/other' not in [t.name for t in threading.enumerate()]


class Nothing:
    size = 1 << 20


@pytest.mark.parametrize('change, kind', [
    ({'size': 1000}, ValueError), ({'size': 0}, ValueError), ({'size': -512}, ValueError), ({'size': 'big'}, TypeError),
    ({'size': 2**63}, ValueError), ({'block': 1000}, ValueError), ({'block': 1 << 21}, ValueError), ({'block': 0}, ValueError),
    ({'read': None}, AttributeError), ({'block': 2**40 + 512}, ValueError)])
def test_objects_that_are_no_devices(change, kind):
    device = Ram()
    vars(device).update(change)
    if change == {'read': None}:
        device = Nothing()
    with pytest.raises(kind):
        weft.register('none', device)
    for name in ('', 'x' * 64):
        with pytest.raises(ValueError, match='name'):
            weft.register(name, Ram())


def test_without_write_it_can_only_be_read(instance):
    class Zeroes:
        size = 1 << 20

        def read(self, offset, view):
            view[:] = bytes(len(view))

    with weft.register('zeroes', Zeroes()), instance.open('python:zeroes') as disk:
        assert disk.info().readonly and disk.read(0, 512) == bytes(512)
        with pytest.raises(weft.ReadOnlyError):
            disk.write(0, bytes(512))


def test_it_is_served_and_read_over_vhost_user(instance, ram, folder):
    with instance.open('python:ram') as disk, disk.serve(f'vhost-user:{folder}/vm.sock') as export:
        with weft.Instance(log='error') as other, other.open(f'vhost-user:{folder}/vm.sock') as seen:
            assert seen.size == ram.size
            seen.write(4 * BLOCK, b'h' * BLOCK)
            seen.flush()
            with seen.queue(16) as queue:
                buffer = bytearray(64 * BLOCK)
                assert queue.read_batch([i * BLOCK for i in range(64)], buffer, BLOCK) == 0
            assert buffer == ram.data[:64 * BLOCK] and buffer[4 * BLOCK:5 * BLOCK] == b'h' * BLOCK
            with pytest.raises(weft.BusyError):
                disk.close()
        export.close()
        assert not os.path.exists(f'{folder}/vm.sock')


def test_another_process_verifies_what_it_wrote(instance, ram, folder):
    with instance.open('python:ram') as disk, disk.serve(f'vhost-user:{folder}/vm.sock'):
        done = subprocess.run([os.path.join(BUILD, 'weft'), 'bench', f'vhost-user:{folder}/vm.sock', '--rw', 'randrw', '--verify',
                               '--depth', '8', '--amount', '4MiB'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout
    assert any(ram.data)


def test_a_busy_gil_stops_no_other_device(instance, ram, folder):
    """While Python holds the GIL, the reactor that serves both goes on: the reader in C is another process."""
    entered, let_go = threading.Event(), threading.Event()

    def read(offset, view):
        entered.set()
        let_go.wait()

    ram.read = read
    with weft.register('stuck', ram), instance.open('python:stuck') as stuck, instance.open('mem:1MiB') as disk, \
            disk.serve(f'vhost-user:{folder}/vm.sock'), stuck.serve(f'vhost-user:{folder}/stuck.sock'):
        with weft.Instance(log='error') as other, other.open(f'vhost-user:{folder}/stuck.sock') as device, \
                device.queue() as queue:
            request = queue.read(0, BLOCK)
            while not entered.is_set():
                queue.wait(1, 0.01)
            done = subprocess.run([os.path.join(BUILD, 'weft'), 'bench', f'vhost-user:{folder}/vm.sock', '--rw', 'randread',
                                   '--amount', '4MiB'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
            let_go.set()
            assert done.returncode == 0, done.stdout
            request.wait()
    gc.collect()
