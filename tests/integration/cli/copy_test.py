# SPDX-License-Identifier: BSD-2-Clause
"""weft copy: what was there is there afterwards, holes too; interrupted, it goes on; what does not fit is said."""
import ctypes
import errno
import json
import mmap
import os
import pty
import random
import signal
import subprocess
import time

import pytest

from command import said
from waiting import BUILD, LIMIT, WEFT, end_with_parent, ended, libc

KIB, MIB = 1 << 10, 1 << 20
SIZE = 16 * MIB


def make_image(path, size=SIZE, seed=1):
    """Runs of data, of zeroes that are written, and of holes."""
    choice = random.Random(seed)
    with open(path, 'wb') as image:
        image.truncate(size)
        at = 0
        while at < size:
            run = min(size - at, choice.randrange(1, 32) * 16 * KIB)
            kind = choice.randrange(3)
            if kind < 2:
                image.seek(at)
                image.write(choice.randbytes(run) if kind == 0 else bytes(run))
            at += run
        image.flush()
        os.fsync(image.fileno())


@pytest.fixture
def image(folder):
    make_image(f'{folder}/a.img')
    return f'{folder}/a.img'


def content(path):
    with open(path, 'rb') as image:
        return image.read()


def used(path):
    return os.stat(path).st_blocks * 512


def told(done):
    assert done.status == 0, done.err
    return json.loads(done.out.splitlines()[-1])


@pytest.mark.parametrize('options', [(), ('--queues', '2'), ('--bs', '64KiB', '--depth', '3'), ('--sparse',),
                                     ('--verify',), ('--queues', '3', '--sparse', '--verify', '--bs', '256KiB')])
def test_to_a_new_file(weft, folder, image, options):
    result = told(weft('copy', 'file:a.img', 'file:b.img', '--json', *options))
    assert content(image) == content(f'{folder}/b.img')
    assert used(f'{folder}/b.img') <= used(image) + 64 * KIB
    assert result['event'] == 'done' and result['size'] == SIZE
    assert result['data'] + result['zeroed'] + result['left_zero'] == SIZE
    assert result['data'] < SIZE and result['zeroed'] == 0
    assert result['compared'] == (SIZE if '--verify' in options else 0)


def test_zeroes_that_were_written_become_holes_when_that_is_asked_for(weft, folder):
    with open(f'{folder}/a.img', 'wb') as source:
        source.write(b'x' * MIB + bytes(MIB) + b'y' * MIB)
    told(weft('copy', 'file:a.img', 'file:b.img', '--json'))
    assert used(f'{folder}/b.img') >= 3 * MIB
    result = told(weft('copy', 'file:a.img', 'file:c.img', '--sparse', '--json'))
    assert used(f'{folder}/c.img') <= 2 * MIB + 64 * KIB and result['left_zero'] == MIB
    assert content(f'{folder}/a.img') == content(f'{folder}/c.img')


@pytest.mark.parametrize('options', [(), ('--sparse',)])
def test_what_was_in_the_destination_is_gone(weft, folder, image, options):
    with open(f'{folder}/b.img', 'wb') as target:
        target.write(b'old' * (SIZE // 3 + 1))
        target.truncate(SIZE + MIB)
    result = told(weft('copy', 'file:a.img', 'file:b.img', '--json', '--verify', *options))
    assert content(f'{folder}/b.img')[:SIZE] == content(image)
    assert result['zeroed'] > 0 and os.path.getsize(f'{folder}/b.img') == SIZE + MIB


def test_to_a_server_and_back(serve, weft, folder, image):
    server = serve('file:disk.img,create=16MiB')
    told(weft('copy', 'file:a.img', f'vhost-user:{server.socket}', '--verify', '--json'))
    told(weft('copy', f'vhost-user:{server.socket}', 'file:b.img', '--json'))
    assert content(f'{folder}/b.img') == content(image)


def test_layers_may_lie_over_both(weft, folder, image):
    stripe = 'stripe:[file:b.img,create=1MiB],[file:c.img,create=1MiB],chunk=64KiB'
    told(weft('copy', 'slice:[file:a.img],offset=1MiB,size=2MiB', stripe, '--json'))
    told(weft('copy', stripe, 'file:d.img', '--json'))
    assert content(f'{folder}/d.img') == content(image)[MIB:3 * MIB]


def test_a_destination_that_reads_as_zeroes_may_be_believed(weft, folder, image):
    result = told(weft('copy', 'file:a.img', 'null:16MiB', '--target-is-zero', '--json'))
    assert result['zeroed'] == 0 and result['left_zero'] > 0


def test_the_source_need_not_be_writable(weft, folder, image):
    os.chmod(image, 0o444)
    os.chmod(folder, 0o777)

    def nobody():
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
    assert weft('copy', 'file:a.img', 'file:b.img', preexec_fn=nobody).status == 0


def test_a_difference_is_found(weft, folder):
    with open(f'{folder}/a.img', 'wb') as source:
        source.write(b'x' * MIB)
    done = weft('copy', 'file:a.img', 'null:1MiB', '--verify', '--resume', 'state', '--depth', '1')
    assert done.status == 1 and 'byte 0 differs: the source holds 0x78, the destination 0x00' in done.err
    assert not os.path.exists(f'{folder}/state')


@pytest.mark.parametrize('liar', ['source', 'destination'])
def test_verifying_believes_no_device(weft, folder, liar):
    """One that calls itself zeroes all over, and is not: the copy believes it, what is read afterwards differs."""
    with open(f'{folder}/lies.img', 'wb') as lies, open(f'{folder}/zeroes.img', 'wb') as zeroes:
        lies.write(bytes(3 * MIB) + b'x' * MIB)
        zeroes.truncate(4 * MIB)
    devices = ['broken:[file:lies.img],how=status-lies', 'file:zeroes.img']
    bytes_there = ('0x78', '0x00') if liar == 'source' else ('0x00', '0x78')
    arguments = [*(devices if liar == 'source' else reversed(devices)), '--load', os.path.join(BUILD, 'tests/broken.so')]
    assert told(weft('copy', *arguments, '--json'))['left_zero'] == 4 * MIB
    done = weft('copy', *arguments, '--verify')
    assert done.status == 1
    assert f'byte {3 * MIB} differs: the source holds {bytes_there[0]}, the destination {bytes_there[1]}' in done.err


@pytest.mark.parametrize('source, target, parts', [
    ('error:[null:4MiB],op=read,offset=2MiB', 'mem:4MiB', ['reading', 'at 2097152 of the source', 'Input/output error']),
    ('null:4MiB', 'error:[mem:4MiB],op=write,offset=2MiB,errno=ENOSPC', ['writing', 'at 2097152 of the dest', 'No space left']),
    ('mem:4MiB', 'error:[null:4MiB],op=zero', ['zeroing', 'at 0 of the destination', 'Input/output error']),
    ('null:4MiB', 'error:[mem:4MiB],op=flush', ['flushing the destination', 'Input/output error']),
])
def test_an_error_says_where_and_what_to_do(weft, source, target, parts):
    done = weft('copy', source, target)
    assert done.status == 1 and len(said(done.err)) == 1 and 'copy again' in done.err
    for part in parts:
        assert part in done.err, done.err


@pytest.mark.parametrize('options', [('--checkpoint', '1ms', '--rate', '64MiB'), ()])
def test_after_a_flush_that_failed_nothing_is_noted(weft, folder, options):
    """The first flush fails, the next ones do not: a disk tells of what it lost only once."""
    done = weft('copy', 'null:160MiB', 'error:[null:160MiB],op=flush,first=1', '--resume', 'state', *options)
    assert done.status == 1 and 'flushing the destination' in done.err
    assert os.listdir(folder) == []


class Copy:
    """One in the background."""

    def __init__(self, folder, *arguments):
        self.child = subprocess.Popen([WEFT, 'copy', *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, preexec_fn=end_with_parent)

    def until(self, bytes_done):
        """It has told (--json) that so much is done."""
        for line in self.child.stdout:
            event = json.loads(line)
            if event['event'] == 'progress' and event['done'] >= bytes_done:
                return
        raise AssertionError('it ended before')

    def end(self, how):
        self.child.send_signal(how)
        out, err = self.child.communicate(timeout=LIMIT)
        return self.child.returncode, out, err


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_goes_on_where_it_stopped(weft, folder, image, how):
    arguments = ('file:a.img', 'file:b.img', '--resume', 'state', '--bs', '64KiB')
    copy = Copy(folder, *arguments, '--rate', '4MiB', '--checkpoint', '50ms', '--json', '--depth', '2')
    copy.until(2 * MIB)
    status, _, err = copy.end(how)
    if how != signal.SIGKILL:
        assert status == 1 and len(said(err)) == 1 and "goes on where it stopped, --resume='state'" in err
    state = json.loads(content(f'{folder}/state'))['state']
    assert 0 < state['copied'][0][1] < SIZE
    assert content(f'{folder}/b.img')[:state['copied'][0][1]] == content(image)[:state['copied'][0][1]]
    result = told(weft('copy', *arguments, '--json'))
    assert result['settled_before'] == state['copied'][0][1]
    assert content(f'{folder}/b.img') == content(image)
    assert sorted(os.listdir(folder)) == ['a.img', 'b.img']


def test_without_a_state_file_the_interrupted_one_says_that_there_is_such_a_thing(folder, image):
    copy = Copy(folder, 'file:a.img', 'file:b.img', '--rate', '2MiB', '--json', '--bs', '64KiB', '--depth', '1')
    copy.until(MIB)
    status, _, err = copy.end(signal.SIGINT)
    assert status == 1 and 'interrupted after' in err and '--resume FILE' in err


def test_a_copy_that_fails_goes_on_when_the_device_is_mended(weft, serve, folder, image):
    server = serve('file:b.img,create=16MiB', '--through', 'error:op=write+zero,offset=8MiB')
    arguments = ('file:a.img', f'vhost-user:{server.socket}', '--resume', 'state', '--bs', '64KiB')
    done = weft('copy', *arguments)
    assert done.status == 1 and 'of the destination' in done.err and 'give the same command again' in done.err
    server.ctl('remove', 'error')
    result = told(weft('copy', *arguments, '--json', '--verify'))
    assert result['settled_before'] >= 7 * MIB


def interrupted(folder):
    copy = Copy(folder, 'file:a.img', 'file:b.img', '--resume', 'state', '--rate', '4MiB', '--json', '--bs', '64KiB', '--depth',
                '1')
    copy.until(MIB)
    copy.end(signal.SIGINT)


@pytest.mark.parametrize('case', ['damaged', 'other', 'gone', 'size'])
def test_a_state_file_that_is_not_true_is_refused(weft, folder, image, case):
    interrupted(folder)
    state = content(f'{folder}/state')
    target, parts = 'file:b.img', []
    if case == 'damaged':
        with open(f'{folder}/state', 'wb') as file:
            file.write(state.replace(b'"copied":[[0,', b'"copied":[[0,1', 1))
        parts = ['damaged', 'remove it']
    elif case == 'other':
        target, parts = 'file:c.img', ['belongs to a copy of file:a.img to file:b.img', 'another file']
    elif case == 'gone':
        os.unlink(f'{folder}/b.img')
        parts = ['is not there', 'remove the file']
    else:
        os.truncate(image, SIZE - MIB)
        parts = ['had 16777216 bytes then', 'remove the file']
    done = weft('copy', 'file:a.img', target, '--resume', 'state')
    assert done.status in (1, 2) and len(said(done.err)) == 1
    for part in ["--resume='state'", *parts]:
        assert part in done.err, done.err
    assert not os.path.exists(f'{folder}/c.img') and (case == 'gone') == (not os.path.exists(f'{folder}/b.img'))


def test_killed_at_any_moment_it_ends_with_the_same_bytes(weft, folder, image):
    arguments = ('file:a.img', 'file:b.img', '--resume', 'state', '--bs', '64KiB', '--depth', '4', '--checkpoint', '1ms')
    choice, source = random.Random(5), content(image)
    for run in range(12):  # at a rate that lets none of them end by itself
        copy = Copy(folder, *arguments, '--rate', '4MiB', '--json')
        if run == 0:
            copy.until(MIB // 16)
        ended(copy.child, choice.uniform(0.02, 0.3))
        copy.end(signal.SIGKILL)
        ranges = json.loads(content(f'{folder}/state'))['state']['copied'] if os.path.exists(f'{folder}/state') else []
        target = content(f'{folder}/b.img') if ranges else b''
        assert all(target[begin:end] == source[begin:end] for begin, end in ranges)
    result = told(weft('copy', *arguments, '--verify', '--json'))
    assert content(f'{folder}/b.img') == source and result['settled_before'] > 0
    assert sorted(os.listdir(folder)) == ['a.img', 'b.img']


def test_a_destination_that_was_changed_meanwhile_is_found_by_verifying_and_copied_anew(weft, folder, image):
    interrupted(folder)
    with open(f'{folder}/b.img', 'r+b') as target:
        target.write(b'somebody was here')
    arguments = ('file:a.img', 'file:b.img', '--resume', 'state', '--verify', '--json')
    done = weft('copy', *arguments)
    assert done.status == 1 and 'byte 0 differs' in done.err and not os.path.exists(f'{folder}/state')
    assert told(weft('copy', *arguments))['settled_before'] == 0
    assert content(f'{folder}/b.img') == content(image)


def test_a_limit_is_kept(weft):
    result = told(weft('copy', 'null:4MiB', 'mem:4MiB', '--rate', '8MiB', '--bs', '64KiB', '--json'))
    assert result['seconds'] > 0.4 and result['data'] == 4 * MIB


def on_a_terminal(folder, *arguments):
    """-> (status, what standard error, a terminal, was sent)"""
    ours, theirs = pty.openpty()
    child = subprocess.Popen([WEFT, 'copy', *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=theirs, preexec_fn=end_with_parent)
    os.close(theirs)
    sent = b''
    while True:
        try:
            more = os.read(ours, 4096)
        except OSError:
            break
        if not more:
            break
        sent += more
    os.close(ours)
    child.stdout.close()
    return child.wait(LIMIT), sent.decode()


def test_a_bar_is_shown_on_a_terminal_only(weft, folder):
    arguments = ('null:8MiB', 'null:8MiB', '--rate', '8MiB', '--bs', '64KiB')
    status, sent = on_a_terminal(folder, *arguments)
    assert status == 0 and 'copy [' in sent and '% ' in sent and '/s' in sent and ' left' in sent
    assert said(weft('copy', *arguments).err) == []


# ---- the page cache ----

RWF_DONTCACHE = 0x80
libc.mmap.restype = ctypes.c_void_p


@pytest.fixture
def cold(folder):
    """An image without holes that is not in the page cache, where the kernel need not put what it reads. -> its path"""
    with open(f'{folder}/a.img', 'w+b') as image:
        image.write(random.Random(1).randbytes(SIZE))
        image.flush()
        os.fsync(image.fileno())
        try:
            os.preadv(image.fileno(), [bytearray(1)], SIZE, RWF_DONTCACHE)
        except OSError as error:
            assert error.errno == errno.EOPNOTSUPP
            pytest.skip('the kernel, or this file system, keeps all that goes through the page cache')
        os.posix_fadvise(image.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert resident(f'{folder}/a.img') == 0
    return f'{folder}/a.img'


def resident(path):
    """How much of it is in the page cache, in bytes."""
    size = os.path.getsize(path)
    pages = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
    with open(path, 'rb') as file:
        at = ctypes.c_void_p(libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(),
                                       ctypes.c_long(0)))
        assert libc.mincore(at, ctypes.c_size_t(size), pages) == 0
        assert libc.munmap(at, ctypes.c_size_t(size)) == 0
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def until_most_has_gone(path):
    """Pages go when they have been written, a moment after that was told."""
    end = time.monotonic() + LIMIT
    while (left := resident(path)) > SIZE // 4:
        assert time.monotonic() < end, f'{left} of {SIZE} bytes are there'


def test_what_goes_through_the_page_cache_does_not_stay_there(weft, folder, cold):
    told(weft('copy', 'file:a.img,direct=off', 'file:b.img,direct=off', '--json'))
    until_most_has_gone(cold)
    until_most_has_gone(f'{folder}/b.img')
    assert content(cold) == content(f'{folder}/b.img')


def test_what_was_in_the_page_cache_before_stays(weft, folder, cold):
    content(cold)
    told(weft('copy', 'file:a.img,direct=off', 'file:b.img,direct=off', '--json'))
    assert resident(cold) > SIZE // 4
    until_most_has_gone(f'{folder}/b.img')


@pytest.mark.parametrize('device, options', [(',transient=off', ()), ('', ('--verify',))])
def test_it_stays_when_it_is_read_again_or_that_is_asked_for(weft, folder, cold, device, options):
    told(weft('copy', f'file:a.img,direct=off{device}', f'file:b.img,direct=off{device}', '--json', *options))
    assert resident(cold) > SIZE // 4 and resident(f'{folder}/b.img') > SIZE // 4
