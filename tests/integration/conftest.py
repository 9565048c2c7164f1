# SPDX-License-Identifier: BSD-2-Clause
"""An empty folder for each test."""
import os
import shutil
import sys
import tempfile

import pytest

sys.path[:0] = [os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]


@pytest.fixture
def folder():
    """Short, because sockets are made there."""
    path = tempfile.mkdtemp(prefix='weft-')
    yield path
    shutil.rmtree(path)
