# SPDX-License-Identifier: BSD-2-Clause
"""The ways by which the server can reach the image."""

import os
import tempfile

import pytest

from conftest import MIB
from guestlib import load


@pytest.fixture
def memory_folder():
    """A folder in memory, where files cannot be read and written directly."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no /dev/shm to write to")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="weft-") as folder:
        yield folder


def verify(place):
    place.boot(fio=True)
    running = load.Load(place.guests[0])
    running.wait_progress(500)
    running.finish()


def test_every_block_reads_back_into_pinned_memory(place):
    place.image(128 * MIB)
    place.serve(export={"pin": "on"})
    verify(place)


def test_every_block_reads_back_from_a_file_in_memory(place, memory_folder):
    place.disk = os.path.join(memory_folder, "disk.img")
    place.image(128 * MIB)
    place.serve()
    verify(place)
