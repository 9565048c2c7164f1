# SPDX-License-Identifier: BSD-2-Clause
"""fio asks weft's devices by the engine in integrations/fio: what it writes it reads back."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from command import weft_in
from waiting import BUILD, LIMIT, ROOT

sys.path.insert(0, os.path.join(ROOT, 'tests'))
from tidy_module import tidy  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which('fio') is None, reason='fio is not installed')
SCRIPT = os.path.join(ROOT, 'integrations/fio/build')
VERIFY = ('--rw=randwrite', '--bs=4k', '--verify=crc32c', '--verify_fatal=1', '--io_size=16m')
MIB = 1 << 20
BLOCKS = [(f'{name}:{line}', script) for name, line, script in tidy.command_blocks(tidy.Tree(ROOT), 'sh fio-engine')]


@pytest.fixture(scope='module')
def engine(tmp_path_factory):
    """-> the engine, built with what apt fetched"""
    fetched = subprocess.run([SCRIPT, '--fetch'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
                             check=False)
    if fetched.returncode != 0:
        pytest.skip(fetched.stdout.strip().split('\n')[-1])
    path = tmp_path_factory.mktemp('engine') / 'libweft-fio.so'
    subprocess.run([SCRIPT, '--output', str(path), BUILD], stdin=subprocess.DEVNULL, check=True)
    return path


@pytest.fixture
def fio(engine, folder):
    """fio('--weft_device=mem:1MiB', ...) -> its first job of its JSON, when all went well"""
    def run(*arguments, status=0):
        done = subprocess.run(['fio', '--name=job', f'--ioengine=external:{engine}', '--output-format=json', '--iodepth=16',
                               *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=LIMIT, check=False)
        assert done.returncode == status, done.stdout
        return done.stdout if status else json.loads(done.stdout[done.stdout.index('{\n'):])['jobs'][0]
    run.engine = engine
    return run


def disk(folder, name='disk.img'):
    with open(os.path.join(folder, name), 'wb') as image:
        image.truncate(16 * MIB)
    return f'file:{folder}/{name}'


def test_memory_holds_what_was_written(fio):
    job = fio('--weft_device=mem:16MiB', *VERIFY)
    assert job['write']['total_ios'] == job['read']['total_ios'] == 4096


def test_what_is_not_as_written_is_found(fio):
    text = fio('--weft_device=error:[mem:16MiB],op=read', *VERIFY, status=1)
    assert 'err=5' in text or 'Input/output error' in text


@pytest.mark.parametrize('wait', ['poll', 'adaptive', 'block'])
def test_a_file_holds_what_was_written_and_synced(fio, folder, wait):
    job = fio(f'--weft_device={disk(folder)}', f'--weft_wait={wait}', '--fdatasync=64', '--fsync=100', *VERIFY)
    assert job['read']['total_ios'] == 4096
    assert job['sync']['total_ios'] > 64
    with open(os.path.join(folder, 'disk.img'), 'rb') as image:
        assert any(image.read(MIB))


@pytest.mark.parametrize('memory', ['shared', 'plain'])
def test_a_server_holds_what_was_written(fio, folder, serve, memory):
    server = serve('mem:16MiB')
    job = fio(f'--weft_device=vhost-user:{server.socket}', f'--weft_memory={memory}', '--sync=1', *VERIFY)
    assert job['read']['total_ios'] == 4096


def test_what_a_job_wrote_the_next_one_reads(fio, folder):
    fio(f'--weft_device={disk(folder)}', *VERIFY)
    job = fio(f'--weft_device=file:{folder}/disk.img,readonly=on', '--rw=randread', '--bs=4k', '--verify=crc32c', '--verify_only=1',
              '--readonly')
    assert job['read']['total_ios'] == 4096


def test_batches_are_sent_and_taken_together(fio):
    job = fio('--weft_device=mem:16MiB', '--rw=randread', '--iodepth_batch=16', '--iodepth_batch_complete_min=8',
              '--iodepth_batch_complete_max=16', '--iodepth_low=4')
    assert job['read']['total_ios'] == 4096
    assert job['iodepth_submit']['16'] > job['iodepth_submit']['4']


def test_trimmed_ranges_read_as_zeroes(fio, folder):
    device = disk(folder)
    fio(f'--weft_device={device}', '--rw=write', '--bs=64k')
    job = fio(f'--weft_device={device}', '--rw=trim', '--bs=64k', '--size=8m')
    assert job['trim']['total_ios'] == 128
    with open(f'{folder}/disk.img', 'rb') as image:
        assert not any(image.read(8 * MIB))
        assert any(image.read(8 * MIB))


def test_several_devices_are_the_files_of_a_job(fio, folder):
    first, second = (disk(folder, name).replace(':', r'\:') for name in ('a.img', 'b.img'))
    job = fio(f'--filename={first}:{second}', '--rw=randwrite', '--verify=crc32c', '--bs=4k', '--file_service_type=roundrobin')
    assert job['read']['total_ios'] == 2 * 4096


def test_threads_share_a_device(fio, folder):
    jobs = ('--thread', '--numjobs=3', '--group_reporting', '--offset_increment=4m', '--size=4m')
    job = fio(f'--weft_device={disk(folder)}', '--rw=randwrite', '--bs=4k', '--verify=crc32c', *jobs)
    assert job['read']['total_ios'] == 3 * 1024


def test_processes_open_it_each(fio, folder, serve):
    server = serve('mem:16MiB')
    jobs = ('--numjobs=3', '--group_reporting', '--offset_increment=4m', '--size=4m')
    job = fio(f'--weft_device=vhost-user:{server.socket}', '--rw=randwrite', '--bs=4k', '--verify=crc32c', *jobs)
    assert job['read']['total_ios'] == 3 * 1024


def test_a_thread_runs_while_processes_are_forked(fio, folder):
    fio('--weft_device=mem:16MiB', '--rw=randread', '--thread', '--io_size=64m', '--name=late', f'--ioengine=external:{fio.engine}',
        '--weft_device=mem:16MiB', '--rw=randread', '--startdelay=100ms')


@pytest.mark.parametrize('arguments, said', [
    (['--weft_device=nope:1'], "there is no kind 'nope'"),
    (['--filename=nope'], 'weft: '),
    (['--weft_device=mem:1MiB', '--nrfiles=2'], 'weft_device with nrfiles=2'),
    (['--weft_device=mem:1MiB', '--weft_wait=often'], 'poll'),
])
def test_what_is_wrong_is_told(fio, arguments, said):
    assert said in fio(*arguments, '--rw=read', status=1)


@pytest.mark.parametrize('place, script', BLOCKS, ids=[place for place, _ in BLOCKS])
def test_the_pages_commands_run(engine, folder, place, script):
    """As tools/tidy runs those that need no engine."""
    tree = tidy.Tree(ROOT)
    tree.build = BUILD
    os.symlink(os.path.dirname(engine), os.path.join(folder, 'build'))
    status, said = tidy.run_block(tree, script, folder)
    assert status == 0, f'{place}: {said}'


def test_the_page_has_commands():
    assert len(BLOCKS) >= 3 and all('fio ' in script for _, script in BLOCKS)


def test_the_page_names_every_option(engine):
    with open(os.path.join(ROOT, 'integrations/fio/engine.c'), encoding='utf-8') as source, \
            open(os.path.join(ROOT, 'docs/fio.md'), encoding='utf-8') as page:
        options = re.findall(r'\.name = "(weft_\w+)"', source.read())
        text = page.read()
    assert len(options) == 3
    assert [name for name in options if f'`{name}' not in text] == []


def test_a_device_that_somebody_else_has_is_refused(fio, folder, serve):
    device = disk(folder)
    serve(device)
    text = fio(f'--weft_device={device},lock-wait=0s', '--rw=read', status=1)
    assert 'disk.img' in text
    assert weft_in(folder, 'info', f'{device},lock-wait=0s').status != 0
