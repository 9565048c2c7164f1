# SPDX-License-Identifier: BSD-2-Clause
"""weft bench does as many requests as it was asked for, when it was asked for them."""
import json
import os

import pytest

from command import said


def told(weft, *arguments):
    done = weft('bench', *arguments, '--json')
    assert done.status == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize('rw', ['read', 'write', 'rw', 'randread', 'randwrite', 'randrw', 'mixed'])
def test_each_kind_of_load_ends_well(weft, rw):
    result = told(weft, 'mem:4MiB', '--rw', rw, '--amount', '4MiB', '--time', '0')
    assert result['requests'] == 1024 and result['errors'] == 0


def test_what_failed_is_one_line_besides_the_table(weft):
    done = weft('bench', 'error:[mem:1MiB]', '--amount', '4KiB')
    assert (done.status, len(said(done.err))) == (1, 1) and '1 errors' in done.out
    assert 'bench: a request failed: Input/output error: see what the device' in done.err


def test_an_amount_is_shared_out_to_the_last_request(weft):
    result = told(weft, 'null:1GiB', '--amount', '401408', '--time', '0', '--queues', '2', '--connections', '3')
    assert result['requests'] == 98 and result['bytes'] == 98 * 4096


@pytest.mark.parametrize('mode', ['poll', 'adaptive', 'notify'])
@pytest.mark.parametrize('arrivals', ['fixed', 'poisson'])
def test_requests_arrive_at_the_rate(weft, mode, arrivals):
    """10,000 at 20,000 per second: half a second, or later where somebody else had the processor."""
    result = told(weft, 'null:1GiB', '--rate', '20k', '--arrivals', arrivals, '--mode', mode, '--amount', '40960000', '--time', '0',
                  '--depth', '128')
    assert result['requests'] == 10000 and 0.45 < result['seconds'] < 3


def test_verification_of_what_was_written_at_once_many_times(weft):
    result = told(weft, 'mem:64KiB',
                  '--rw', 'mixed', '--verify', '--depth', '64', '--amount', '64MiB', '--time', '0', '--mix', '50')
    assert result['mismatches'] == 0


def test_a_range_that_is_too_small_is_said(weft):
    done = weft('bench', 'mem:4KiB', '--bs', '8KiB')
    lines = said(done.err)
    assert done.status == 2 and len(lines) == 1 and 'bs=8192' in lines[0]


def test_a_device_that_fails_is_told_and_the_status_says_so(weft):
    done = weft('bench', 'error:[mem:1MiB],op=write', '--rw', 'write', '--amount', '64KiB', '--time', '0')
    assert done.status == 1


def test_a_device_may_be_called_anything(weft, folder):
    """Its name is told as JSON, whatever bytes are in it."""
    name = b'a\t"\x01\xff\\.img'
    with open(os.path.join(os.fsencode(folder), name), 'wb') as image:
        image.truncate(1 << 20)
    result = told(weft, b"file:'" + name + b"'", '--amount', '4KiB', '--time', '0')
    assert result['device'].startswith("file:'a\t\"\x01?") and result['requests'] == 1
