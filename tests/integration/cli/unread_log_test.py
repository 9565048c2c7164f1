# SPDX-License-Identifier: BSD-2-Clause
"""Nobody reads what a server says, or the reader has gone: it serves all the same."""
import json
import os
import subprocess

import pytest
from waiting import WEFT, end_with_parent


def busy(weft, socket):
    done = weft('bench', f'vhost-user:{socket}', '--rw', 'randread', '--depth', '8', '--amount', '40MiB', '--json')
    assert done.status == 0, done.err
    return json.loads(done.out)['requests']


@pytest.mark.parametrize('reader', ['asleep', 'gone'])
def test_a_log_that_nobody_reads_stops_nothing(weft, folder, reader):
    read, write = os.pipe()
    # Each request is a line of the log: far more than a pipe holds.
    command = [WEFT, 'serve', 'log:[mem:64MiB]', '--on', 'vhost-user:vm.sock']
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=write, text=True,
                          preexec_fn=end_with_parent) as server:
        assert server.stdout.readline()
        os.close(write)
        if reader == 'gone':
            os.close(read)
        assert busy(weft, 'vm.sock') == 10240
        server.terminate()
        assert server.wait(60) == 0
    if reader == 'asleep':
        os.close(read)
