# SPDX-License-Identifier: BSD-2-Clause
"""A program that links the library asks a server that is killed and started again, under each style of completion."""
import contextlib
import os
import re
import select
import subprocess

import pytest

from listening import Listening
from waiting import BUILD, ROOT, WEFT, ended

KILLS = 8
DOTS = 2  # between two kills: rounds of requests that ended; one of them may have been on its way when the server died


@pytest.fixture(scope='module')
def survivor(tmp_path_factory):
    program = str(tmp_path_factory.mktemp('survivor') / 'survivor')
    source = os.path.join(os.path.dirname(__file__), 'survivor.c')
    subprocess.run(['cc', '-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-I', os.path.join(ROOT, 'include'), '-o', program,
                    source, '-L', BUILD, '-lweft', f'-Wl,-rpath,{BUILD}'], check=True)
    return program


def forget(stream):
    """What was told until now."""
    while select.select([stream], [], [], 0)[0]:
        stream.read(4096)


@pytest.mark.parametrize('style', ['poll', 'block', 'epoll'])
def test_a_server_killed_and_started_again_loses_nothing(survivor, folder, style):
    path, image = os.path.join(folder, 'weft.sock'), os.path.join(folder, 'disk.img')
    server = Listening([WEFT, 'serve', f'file:{image},create=4MiB', '--on', f'vhost-user:{path}'], path)
    command = [survivor, style, f'vhost-user:{path},reconnect=5ms']
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as left:
        left.callback(server.kill)  # the one that runs then
        program = left.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0))
        left.callback(program.kill)
        for kill in range(KILLS + 1):
            dots = b''.join(program.stdout.read(1) for _ in range(DOTS))
            assert dots == b'.' * DOTS, program.stderr.read().decode() + server.text()
            server.kill()
            forget(program.stdout)
            if kill == KILLS:
                program.stdin.close()  # it ends with a server that has known nothing of what it wrote
            server.start()
        out, err = program.stdout.read().decode(), program.stderr.read().decode()
        status = ended(program)
        assert server.stop() == 0
    assert status == 0, err + server.text()
    told = re.fullmatch(r'\.*\n(\d+) writes, (\d+) reads\n', out)
    assert told and int(told[1]) + int(told[2]) >= 500 * DOTS * KILLS
