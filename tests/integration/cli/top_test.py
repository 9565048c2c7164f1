# SPDX-License-Identifier: BSD-2-Clause
"""weft top: what it shows of a server, view after view; the rebuild of a mirror among it."""
import re
import subprocess

import pytest

from waiting import WEFT, end_with_parent

MIRROR = 'mirror:[error:[file:a.img,create=4MiB],op=write],[file:b.img,create=4MiB],state=s,region=64KiB,rebuild=off'


@pytest.fixture
def top(folder):
    """top(server, ...) -> Popen that shows a view every 20 ms"""
    children = []

    def start(server, *arguments):
        children.append(subprocess.Popen([WEFT, 'top', server.path, *arguments, '--every', '20ms'], cwd=folder,
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                         preexec_fn=end_with_parent))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()


def views(child):
    """-> each view as its lines"""
    lines = []
    for line in child.stdout:
        lines.append(line.rstrip('\n'))
        if line.startswith('process: '):
            yield lines
            lines = []


def facts(view):
    """What the devices tell of themselves"""
    return dict(re.fullmatch(r'  ([^:]+): (.*)', line).groups() for line in view if re.fullmatch(r'  [a-z]+[ 0-9]*: .*', line))


@pytest.fixture
def degraded(serve, weft):
    """A mirror whose first leg has missed 4 MiB, and takes writes again; to be started."""
    server = serve(MIRROR)
    done = weft('bench', f'vhost-user:{server.socket}', '--rw', 'write', '--bs', '64KiB', '--amount', '4MiB', '--time', '0')
    assert done.status == 0, done.err
    assert 'dropped' in server.ctl('info')['devices'][0]['facts']['leg 0']
    assert server.stop() == 0
    return server


def begin_rebuild(server):
    server.ctl('set', 'error0', 'op', 'discard')
    server.ctl('set', 'mirror0', 'rebuild-rate', '3MiB')
    server.ctl('set', 'mirror0', 'rebuild', 'on')


def follow(child):
    """-> how many regions were left, view by view, until the leg is there again"""
    left, legs = [], []
    for view in views(child):
        told = facts(view)
        if 'rebuild' in told:
            left.append(int(re.search(r'(\d+) regions left', told['rebuild'])[1]))
            legs.append(told.get('leg 0', ''))
        if legs and legs[-1].endswith('live'):
            assert re.match(r'idle, 0 regions left, \d+ bytes copied', told['rebuild']), told
            break
    assert any('being rebuilt' in leg for leg in legs)
    return left


def test_the_rebuild_of_a_mirror_is_watched(degraded, top):
    degraded.start()
    child = top(degraded)
    assert facts(next(views(child))) == {}  # nothing has changed yet
    begin_rebuild(degraded)
    left = follow(child)
    assert left == sorted(left, reverse=True) and len(set(left)) >= 5, left


def test_the_rebuild_of_one_device_of_several(degraded, top):
    degraded.command += ['mem:1MiB', '--on', 'vhost-user:second.sock']
    degraded.start()
    child = top(degraded, 'mirror')
    next(views(child))
    begin_rebuild(degraded)
    left = follow(child)
    assert left == sorted(left, reverse=True) and len(set(left)) >= 5, left
    assert 'mem0' not in '\n'.join(next(views(child)))


def test_what_does_not_change_is_not_shown(serve, top):
    child = top(serve('mirror:[mem:1MiB],[mem:1MiB]'))
    shown = views(child)
    for _ in range(3):
        assert facts(next(shown)) == {}


def test_it_ends_at_a_signal(serve, top):
    child = top(serve('mem:1MiB'))
    next(views(child))
    child.terminate()
    child.communicate(timeout=60)
    assert child.returncode == 0
