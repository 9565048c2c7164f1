# SPDX-License-Identifier: BSD-2-Clause
"""The module as it was built, and for each test an instance in which nothing may be left open."""
import gc
import os
import shutil
import signal
import sys
import tempfile
import threading

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from built import PACKAGE  # noqa: E402

if os.path.exists(os.path.join(PACKAGE, 'weft/_core.abi3.so')):
    sys.path.insert(0, PACKAGE)
else:
    collect_ignore_glob = ['*_test.py']  # built without -Dpython

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what it starts in the background


@pytest.fixture
def instance():
    """The library counts its open handles: one that is left makes close() fail."""
    import weft
    made = weft.Instance(log='error')
    yield made
    gc.collect()
    made.close()


@pytest.fixture
def folder():
    """Short, because sockets are made there."""
    path = tempfile.mkdtemp(prefix='weft-')
    yield path
    shutil.rmtree(path)


@pytest.fixture
def disk(instance):
    with instance.open('mem:1MiB') as device:
        yield device


class Held:
    """A device in Python that keeps its requests until it is told to let go: their views are its hold on them."""

    size = 1 << 20

    def __init__(self):
        self.views, self.came = [], threading.Condition()

    def read(self, offset, view):
        view[:] = bytes(len(view))
        self.write(offset, view)

    def write(self, offset, view):
        with self.came:
            self.views.append(view[:])
            self.came.notify()

    def wait(self, count=1):
        """Returns when it has been asked so often."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.views) >= count, 60)

    def let_go(self):
        while self.views:
            self.views.pop().release()


@pytest.fixture
def held(instance):
    """-> (device in Python, the device opened)"""
    import weft
    device = Held()
    with weft.register('held', device), instance.open('python:held') as opened:
        yield device, opened
        device.let_go()
