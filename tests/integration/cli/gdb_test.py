# SPDX-License-Identifier: BSD-2-Clause
"""tools/weft-gdb.py shows in a debugger what requests of a live server wait for."""
import os
import re
import shutil
import subprocess
import time

import pytest

from waiting import ROOT, WEFT

pytestmark = pytest.mark.skipif(shutil.which('gdb') is None, reason='gdb is not installed')


def requests_of(pid):
    """-> what gdb says; skips where it may not look"""
    done = subprocess.run(['gdb', '-nx', '-batch', '-p', str(pid), '-x', os.path.join(ROOT, 'tools/weft-gdb.py'),
                           '-ex', 'weft-requests'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    if re.search(r'ptrace: (Operation not permitted|Inappropriate)|Could not attach', done.stdout):
        pytest.skip('this machine lets no debugger attach')
    return done.stdout


@pytest.mark.parametrize('device, path', [
    ('delay:[mem:1MiB],read=3s', r'delay0'),
    # timeout asks below with a hop of its own, on a copy
    ('timeout:[delay:[mem:1MiB],read=3s],after=1min', r'timeout0 \| delay0')])
def test_a_debugger_shows_the_path_of_a_request_that_waits(folder, serve, device, path):
    server = serve(device)
    asker = subprocess.Popen([WEFT, 'bench', f'vhost-user:{server.socket}'], cwd=folder,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server.until_waiting(asker)
        end, seen = time.monotonic() + 30, ''
        while 'READ' not in seen and time.monotonic() < end:
            seen = requests_of(server.child.pid)
        assert re.search(rf'READ 4096@\d+ \| {path}', seen), seen
    finally:
        asker.kill()
        asker.wait()
