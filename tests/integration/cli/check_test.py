# SPDX-License-Identifier: BSD-2-Clause
"""weft check-contract: every device of ours and a foreign server pass; each broken promise is found."""
import json
import os
import resource
import shutil
import signal
import subprocess

import pytest

from waiting import BUILD, end_with_parent, until_listening

BROKEN = os.path.join(BUILD, 'tests/broken.so')
DEVICES = ['mem:8MiB', 'mem:8MiB,block=4096', 'mem:64MiB,block=1MiB', 'mem:512', 'mem:4096', 'file:a.img,create=80MiB',
           'file:a.img,create=8MiB,direct=off', 'slice:[mem:8MiB],offset=1MiB,size=4MiB',
           'stripe:[mem:4MiB],[file:a.img,create=4MiB],chunk=64KiB', 'mirror:[mem:8MiB],[mem:8MiB]',
           'delay:[mem:8MiB],read=20us,write=20us,jitter=20us', 'error:[mem:8MiB],from=1min', 'limit:[mem:8MiB],iops=1M',
           'log:[mem:8MiB]', 'contract:[mem:8MiB]', 'compare-write:[mem:8MiB]', 'compare-write:[mem:512]',
           'compare-write:[mem:64MiB,block=1MiB]', 'compare-write:[file:a.img,create=8MiB]', 'contract:[compare-write:[mem:8MiB]]']
# what is broken: in which check that shows at the latest
FOUND = {
    'lost-write': 'depth', 'stale-read': 'reads see writes', 'misdirected': 'depth', 'short': 'end of the device',
    'long-discard': 'discard', 'kept-zeroes': 'zeroes', 'long-zeroes': 'zeroes', 'no-copy': 'copy',
    'blind-compare': 'compare and write', 'status-lies': 'block status', 'status-gap': 'block status', 'no-flush': 'flush',
    'no-fua': 'FUA', 'no-discard': 'discard', 'writes-memory': 'reads see writes', 'small-depth': 'depth', 'no-growth': 'resize',
    'last-segment': 'many segments', 'half-compare': 'compare and write', 'racy-compare': 'compare and write, at once',
}


def checked(weft, device, *options):
    """-> (status, {check: (result, detail)}, the summary)"""
    done = weft('check-contract', device, '--destroy-data', '--json', '--log', 'error', *options)
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert lines, done.err
    return done.status, {line['check']: (line['result'], line['detail']) for line in lines[:-1]}, lines[-1]


def failures(results):
    return {name: detail for name, (result, detail) in results.items() if result == 'failed'}


@pytest.mark.parametrize('device', DEVICES)
def test_a_device_of_ours_passes(weft, device):
    status, results, summary = checked(weft, device)
    assert failures(results) == {} and status == 0
    assert summary['failed'] == 0 and summary['ok'] + summary['skipped'] == len(results) and summary['ok'] >= 12
    assert all(detail for result, detail in results.values() if result == 'skipped')


def test_requests_of_all_kinds_in_turn_meet_idle_hops(weft):
    """Long ones are taken to pieces, short ones are not; legs of different kinds."""
    status, results, _ = checked(weft, 'mirror:[mem:64MiB],[file:a.img,create=64MiB]')
    assert status in (0, 1) and len(results) == 22
    assert set(failures(results)) <= {'order, at once and overlapping'}  # two legs may differ after writes at once


@pytest.mark.parametrize('how', FOUND)
@pytest.mark.parametrize('seed', ['1', '7'])
def test_a_broken_promise_is_found(weft, how, seed):
    lower = 'delay:[mem:8MiB],write=5ms' if how == 'small-depth' else 'mem:8MiB'  # so that many are in flight
    status, results, summary = checked(weft, f'broken:[{lower}],how={how}', '--load', BROKEN, '--seed', seed)
    assert status == 1 and summary['failed'] == len(failures(results)) > 0
    assert FOUND[how] in failures(results) and failures(results)[FOUND[how]]


@pytest.mark.parametrize('violation, status', [('fail', 1), ('abort', -signal.SIGABRT)])
def test_the_contract_layer_fails_the_request_or_ends_the_process(weft, violation, status):
    done = weft('bench', f'contract:[broken:[mem:8MiB],how=lost-write],violation={violation}', '--load', BROKEN, '--rw', 'mixed',
                '--verify', '--amount', '16MiB', preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
    assert done.status == status
    assert 'the data is not what was last written there' in done.err
    assert ('violation=abort is set' in done.err) == (violation == 'abort')


@pytest.mark.parametrize('device', ['compare-write:[mem:8MiB]', 'compare-write:[delay:[mem:8MiB],all=10us,jitter=10us]'])
@pytest.mark.parametrize('queues', ['1', '4'])
def test_compare_and_write_is_tried_where_it_is_offered(weft, device, queues):
    """Through layers that pass it on, too."""
    _, results, _ = checked(weft, f'log:[slice:[{device}],offset=1MiB]', '--queues', queues)
    assert failures(results) == {}
    assert results['compare and write'][0] == results['compare and write, at once'][0] == 'ok'


def test_a_request_that_never_ends_ends_the_run(weft):
    done = weft('check-contract', 'delay:[mem:8MiB],flush=10min', '--destroy-data', '--timeout', '300ms')
    assert done.status == 1
    assert 'FAILED   flush (a request did not end within 0.3 s' in done.out


def test_a_lost_read_is_found_by_the_model(weft):
    """Only the layer that knows of overlapping requests can say that."""
    _, results, _ = checked(weft, 'broken:[mem:8MiB],how=lost-write', '--load', BROKEN)
    assert 'order, at once and overlapping' in failures(results)


def test_our_server_passes(weft, serve):
    server = serve('mem:80MiB')
    status, results, _ = checked(weft, f'vhost-user:{server.socket}')
    assert failures(results) == {} and status == 0
    assert results['the server refuses what is out of range'][0] == 'ok'


@pytest.mark.skipif(not shutil.which('qemu-storage-daemon'), reason='no qemu-storage-daemon')
def test_a_foreign_server_passes(weft, folder):
    with open(f'{folder}/a.img', 'wb') as image:
        image.truncate(80 << 20)
    blockdev = f'driver=file,filename={folder}/a.img,discard=unmap,node-name=disk'
    export = f'type=vhost-user-blk,id=e,node-name=disk,writable=on,num-queues=2,addr.type=unix,addr.path={folder}/vm.sock'
    command = ['qemu-storage-daemon', '--blockdev', blockdev, '--export', export]
    with subprocess.Popen(command, preexec_fn=end_with_parent) as server:
        until_listening(server, f'{folder}/vm.sock')
        status, results, _ = checked(weft, 'vhost-user:vm.sock')
        server.terminate()
    assert failures(results) == {} and status == 0
    assert results['the server refuses what is out of range'][0] == 'ok'


def test_lines_for_people(weft):
    done = weft('check-contract', 'mem:8MiB', '--destroy-data')
    lines = done.out.splitlines()
    assert done.status == 0 and lines[0] == 'ok       geometry' and lines[-1].endswith('0 FAILED, 4 skipped')
