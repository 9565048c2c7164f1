# SPDX-License-Identifier: BSD-2-Clause
"""Bad input: one line that names parameter, value, rule and remedy, the right exit status, and nothing left behind."""
import os
import resource
import socket
import subprocess

import pytest

from command import WEFT, said

USAGE, FAILED, ABSENT = 2, 1, 3
ON = ('--on', 'vhost-user:vm.sock')
LONG = 'a' * 200

# what is typed, exit status, parts of the line
SERVE = {
    'no device': ((*ON,), USAGE, ['argument is missing', 'weft serve DEVICE']),
    'two devices, one export': (('mem:1MiB', 'mem:2MiB', *ON), USAGE, ["'mem:1MiB'", '--on is missing', 'behind the device']),
    'no export': (('mem:1MiB',), USAGE, ['--on is missing', '--on vhost-user:']),
    'no value': (('mem:1MiB', '--on'), USAGE, ['--on', 'value is missing', 'EXPORT:ADDRESS']),
    'no address': (('mem:1MiB', '--on', 'vhost-user'), USAGE, ['vhost-user', 'no address', 'vhost-user:/run/vm.sock']),
    'unknown flag': (('mem:1MiB', *ON, '--moed', 'poll'), USAGE, ["'--moed'", "did you mean 'mode'?", '--help']),
    'unknown kind': (('fiel:ok.img', *ON), USAGE, ["'fiel'", "did you mean 'file'?", 'weft list']),
    'unknown export': (('mem:1MiB', '--on', 'nbdd:1'), USAGE, ["'nbdd'", 'export', 'weft list']),
    'unknown layer': (('mem:1MiB', '--through', 'dleay:read=1ms', *ON), USAGE, ["'dleay'", "did you mean 'delay'?"]),
    'unknown layer, alone': (('mem:1MiB', '--through', 'limt', *ON), USAGE, ["'limt'", "did you mean 'limit'?", 'weft list']),
    'a device as an export': (('mem:1MiB', '--on', 'file:ok.img'), USAGE, ["'file'", "'export' is wanted"]),
    'a reference as an export': (('mem:1MiB', '--on', '@mem0'), USAGE, ['@mem0', 'reference', 'KIND:']),
    'a reference as a layer': (('mem:1MiB', '--through', '@mem0', *ON), USAGE, ['@mem0', 'reference', 'KIND:']),
    'unknown option': (('file:ok.img,raedonly=on', *ON), USAGE,
                       ['file', "'raedonly'", "did you mean 'readonly'?", 'weft explain file']),
    'no bool': (('file:ok.img,readonly=maybe', *ON), USAGE, ['readonly', "'maybe'", 'write on or off']),
    'no size': (('mem:abc', *ON), USAGE, ['mem', 'size', "'abc'", 'KiB', '64MiB']),
    'no duration': (('mem:1MiB', '--through', 'delay:read=1', *ON), USAGE, ['delay', 'read', "'1'", 'duration', 'ms']),
    'no choice': (('mem:1MiB', *ON, '--mode', 'fast'), USAGE, ['mode', "'fast'", 'poll|adaptive|notify']),
    'too many reactors': (('mem:1MiB', *ON, '--reactors', '99'), USAGE, ['reactors', "'99'", 'at most 63']),
    'no processors': (('mem:1MiB', *ON, '--cpus', 'x'), USAGE, ['--cpus', "'x'", '0,2-3']),
    'not that processor': (('mem:1MiB', *ON, '--cpus', '4000'), USAGE, ['cpus', '4000', 'taskset']),
    'size no multiple': (('mem:1000', *ON), USAGE, ['mem', 'size=1000', 'multiple of block=512', 'size=1024']),
    'file no multiple': (('file:odd.img', *ON), USAGE, ['file', 'odd.img', '1000 bytes', 'multiple of 512', 'truncate']),
    'an odd block': (('file:ok.img,block=1000', *ON), USAGE, ['file', 'block=1000', 'power of two']),
    'file too small': (('file:empty.img', *ON), USAGE, ['file', 'empty.img', 'is empty', 'truncate -s SIZE']),
    'file missing': (('file:none.img', *ON), FAILED, ['file', 'none.img', 'no such file', 'create=SIZE']),
    'a folder': (('file:folder', *ON), FAILED, ['file', 'folder is a directory', 'name a file']),
    'folder missing': (('file:none/x.img,create=1MiB', *ON), FAILED, ['file', 'none/x.img', 'does not exist', 'make it']),
    'one leg': (('mirror:[mem:1MiB]', *ON), USAGE, ['mirror', 'leg', 'at least 2', 'brackets']),
    'beyond the end': (('slice:[mem:1MiB],offset=2MiB', *ON), USAGE, ['slice', 'offset=2097152', '1048576', 'smaller']),
    'socket too long': (('mem:1MiB', '--on', f'vhost-user:{LONG}'), USAGE, ['vhost-user', '107', 'shorter']),
    'socket is a file': (('mem:1MiB', '--on', 'vhost-user:ok.img'), FAILED, ['vhost-user', 'ok.img', 'no socket']),
    'socket without folder': (('mem:1MiB', '--on', 'vhost-user:none/vm.sock'), FAILED, ['none/vm.sock', 'make it']),
    'socket in use': (('mem:1MiB', '--on', 'vhost-user:used.sock'), FAILED, ['vhost-user', 'used.sock', 'listens']),
    'control in use': (('mem:1MiB', *ON, '--control', 'used.sock'), FAILED, ['--control', "'used.sock'", 'listens']),
    'control too long': (('mem:1MiB', *ON, '--control', LONG), USAGE, ['--control', '107', 'shorter']),
    'no such group': (('mem:1MiB', '--on', 'vhost-user:vm.sock,group=nobodysgroup'), FAILED, ['nobodysgroup']),
    'no config': (('--config', 'none.yaml', *ON), FAILED, ['--config', "'none.yaml'", 'no such file']),
    'bad YAML': (('--config', 'bad.yaml', *ON), USAGE, ['--config', 'line 1', "'brand'", 'use kind']),
    'bad JSON': (('--config', 'bad.json', *ON), USAGE, ['--config', 'JSON', 'line']),
    'no module': (('mem:1MiB', *ON, '--load', 'none.so'), FAILED, ['none.so', 'cannot be loaded', 'shared object']),
}
OTHERS = {
    'no command': (('srve',), USAGE, ["'srve'", "did you mean 'serve'?", 'weft help']),
    'info of nothing': (('info', 'file:none.img'), FAILED, ['none.img', 'no such file']),
    'info of a bad size': (('info', 'mem:'), USAGE, ['mem', 'size']),
    'server missing': (('info', 'vhost-user:none.sock'), FAILED, ['vhost-user', 'none.sock', 'start the server']),
    'list of what': (('list', 'volumes'), USAGE, ["'volumes'", 'weft list components']),
    'explain what': (('explain', 'fiel'), USAGE, ["'fiel'", "did you mean 'file'?"]),
    'ctl, nobody there': (('ctl', 'none.sock', 'info'), ABSENT, ["'none.sock'", 'nobody listens', '--control']),
    'top, nobody there': (('top', 'none.sock', '--once'), ABSENT, ["'none.sock'", 'nobody listens', '--control']),
    'ctl, no command': (('ctl', 'none.sock', 'inof'), USAGE, ["'inof'", "did you mean 'info'?"]),
    'ctl, too many words': (('ctl', 'none.sock', 'mode', 'a', 'b'), USAGE, ['mode', 'poll|adaptive|notify']),
    'check without leave': (('check-contract', 'mem:1MiB'), USAGE, ["'mem:1MiB'", 'overwritten', '--destroy-data']),
    'check of nothing': (('check-contract', 'file:none.img', '--destroy-data'), FAILED, ['none.img', 'no such file']),
    'check, read-only': (('check-contract', 'file:ok.img,readonly=on', '--destroy-data'), USAGE, ['ok.img', 'readonly=off']),
    'check, too many queues': (('check-contract', 'mem:1MiB', '--destroy-data', '--queues', '9'), USAGE, ['queues', 'at most 4']),
    'copy to nowhere': (('copy', 'mem:1MiB'), USAGE, ['argument is missing', 'weft copy SOURCE DESTINATION']),
    'copy to less': (('copy', 'mem:2MiB', 'mem:1MiB'), USAGE, ["'mem:1MiB'", '1048576', '2097152', 'size=1048576']),
    'copy to nobody': (('copy', 'mem:2MiB', 'vhost-user:none.sock'), FAILED, ['vhost-user', 'none.sock', 'start the server']),
    'copy from nothing': (('copy', 'file:none.img', 'file:new.img'), FAILED, ['none.img', 'no such file']),
    'copy to a read-only file': (('copy', 'mem:1MiB', 'file:ok.img,readonly=on'), USAGE, ['ok.img', 'read-only', 'readonly=off']),
    'copy to blocks too large': (('copy', 'mem:1536', 'mem:1MiB,block=4096'), USAGE, ['mem:1536', '1536', 'multiple', '4096']),
    'copy in bits': (('copy', 'mem:1MiB,block=8192', 'mem:1MiB', '--bs', '4096'), USAGE, ['--bs=4096', 'multiple', '--bs 8192']),
    'copy, no state': (('copy', 'mem:1MiB', 'mem:1MiB', '--resume', 'bad.yaml'), USAGE, ['--resume', 'bad.yaml', 'remove it']),
    'copy, state in no folder': (('copy', 'mem:1MiB', 'mem:1MiB', '--resume', 'none/st'), FAILED,
                                 ['none/st', 'the folder', 'make it first']),
    'bench, odd block': (('bench', 'mem:1MiB', '--bs', '1000'), USAGE, ['bench: --bs 1000', 'multiple of 512', 'choose 1024']),
    'bench, a device without a block for each': (('bench', 'mem:4KiB', '--queues', '2', '--rw', 'read'), USAGE,
                                                 ['bs=4096', '4096 bytes', '2 connections', '--bs', '--range']),
    'bench, writing what is read-only': (('bench', 'file:ok.img,readonly=on', '--rw', 'write'), USAGE,
                                         ['rw', 'read-only', '--rw read', 'readonly=off']),
    'bench, no server': (('bench', 'mem:1MiB', '--server-pid', '4194305'), USAGE,
                         ['server-pid=4194305', 'no such process', 'leave it out']),
    'bench, a drawing in no folder': (('bench', 'mem:1MiB', '--time', '0', '--plot', 'none/x.svg'), FAILED,
                                      ['--plot', 'none/x.svg', 'make it first']),
    'bench, a drawing on a folder': (('bench', 'mem:1MiB', '--time', '0', '--plot', 'folder'), FAILED,
                                     ['--plot', 'folder', 'cannot be written', 'another file']),
    'bench, beyond the end': (('bench', 'mem:1MiB', '--range', '2MiB'), USAGE, ['range=2097152', '1048576', 'smaller --range']),
    'bench, gaps of nothing': (('bench', 'mem:1MiB', '--arrivals', 'poisson'), USAGE, ['--arrivals', 'poisson', '--rate']),
    'bench, no depth': (('bench', 'mem:1MiB', '--depth', '0'), USAGE, ['depth', "'0'", 'at least 1']),
}
ALL = {**{name: (('serve', *typed), status, parts) for name, (typed, status, parts) in SERVE.items()}, **OTHERS}


@pytest.fixture
def stage(folder):
    """What the bad inputs need around them."""
    for name, size in (('ok.img', 1 << 20), ('odd.img', 1000), ('empty.img', 0)):
        with open(f'{folder}/{name}', 'wb') as image:
            image.truncate(size)
    os.mkdir(f'{folder}/folder')
    with open(f'{folder}/bad.yaml', 'w') as config:
        config.write('{kind: mem, address: 1MiB, brand: 2}')
    with open(f'{folder}/bad.json', 'w') as config:
        config.write('{"kind": "mem", ')
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as used:
        os.chdir(folder)
        used.bind('used.sock')
        os.chdir(here)
        used.listen()
        yield folder


def look(folder):
    return sorted((entry.name, entry.stat().st_size) for entry in os.scandir(folder))


def check(done, status, parts, before, folder):
    assert done.out == ''
    lines = said(done.err)
    assert len(lines) == 1 and lines[0].startswith('weft: ') and len(lines[0]) < 270, done.err
    for part in parts:
        assert part in lines[0], done.err
    assert done.status == status
    assert look(folder) == before


@pytest.mark.parametrize('case', ALL)
def test_bad_input(weft, stage, case):
    typed, status, parts = ALL[case]
    before = look(stage)
    check(weft(*typed), status, parts, before, stage)


# how many words each command takes, besides options: at least, at most
WORDS = {'serve': (1, 256), 'ctl': (2, 6), 'top': (1, 2), 'bench': (1, 1), 'copy': (2, 2), 'check-contract': (1, 1), 'info': (1, 1),
         'list': (0, 1), 'explain': (1, 1), 'demo': (0, 0), 'help': (0, 1)}


@pytest.mark.parametrize('command', WORDS)
def test_words_too_few_and_too_many(weft, folder, command):
    """What is said is what help says."""
    least, most = WORDS[command]
    usage = weft(command, '--help').out.split('\n')[0].removeprefix('usage: ')
    if least > 0:
        check(weft(command, *['x'] * (least - 1)), USAGE, ['an argument is missing', f'write `{usage}`'], [], folder)
    if command != 'serve':
        check(weft(command, *['x'] * most, 'odd'), USAGE, ["'odd' is one argument too many", f'write `{usage}`'], [], folder)


def test_all_commands_are_tried(weft):
    told = [line.split()[1] for line in weft('help').out.split('\n') if line.startswith('  weft ')]
    assert sorted(told) == sorted(WORDS)


@pytest.mark.parametrize('exports', [('vhost-user:used.sock',), ('vhost-user:vm.sock', 'vhost-user:used.sock'),
                                     ('vhost-user:vm.sock', 'vhost-user:none/vm.sock')])
def test_an_image_that_was_made_for_nothing_is_taken_away(weft, stage, exports):
    before = look(stage)
    on = [word for export in exports for word in ('--on', export)]
    check(weft('serve', 'file:new.img,create=1MiB', *on), FAILED, ['vhost-user'], before, stage)


@pytest.mark.parametrize('typed', [('help',), ('list', '--json'), ('explain', 'file'), ('info', 'mem:1MiB'),
                                   ('bench', 'mem:1MiB', '--amount', '4KiB', '--json'), ('copy', 'mem:1MiB', 'mem:1MiB', '--json'),
                                   ('check-contract', 'mem:1MiB', '--destroy-data', '--json')])
def test_what_is_told_does_not_get_lost_unnoticed(folder, typed):
    with open('/dev/full', 'w', encoding='utf-8') as full:
        done = subprocess.run([WEFT, *typed], cwd=folder, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True,
                              check=False)
    assert done.returncode == FAILED and 'cannot be written to standard output' in said(done.stderr)[-1], done


def test_an_image_that_was_there_stays(weft, stage):
    before = look(stage)
    check(weft('serve', 'file:ok.img,create=1MiB', '--on', 'vhost-user:used.sock'), FAILED, ['used.sock'], before, stage)


def test_a_file_in_use_is_refused(weft, stage, serve):
    serve('file:ok.img')
    before = look(stage)
    check(weft('serve', 'file:ok.img,lock-wait=10ms', *ON), FAILED, ['file', 'ok.img', 'locked', 'stop the other'], before,
          stage)


def as_nobody():
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


@pytest.mark.parametrize('mode, device, parts', [
    (0o000, 'file:ok.img', ['file', 'ok.img', 'permission']),
    (0o444, 'file:ok.img', ['file', 'ok.img', 'permission', 'read-only']),
])
def test_a_file_without_permission_is_refused(weft, stage, mode, device, parts):
    os.chmod(stage, 0o755)
    os.chmod(f'{stage}/ok.img', mode)
    before = look(stage)
    check(weft('serve', device, *ON, preexec_fn=as_nobody), FAILED, parts, before, stage)


def test_a_file_in_a_folder_without_permission_is_not_made(weft, stage):
    os.chmod(stage, 0o555)
    before = look(stage)
    check(weft('serve', 'file:new.img,create=1MiB', *ON, preexec_fn=as_nobody), FAILED,
          ['file', 'new.img', 'permission to make', 'choose a folder'], before, stage)
    os.chmod(stage, 0o755)


def small_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def test_a_file_beyond_the_limit_of_files_is_told(weft, stage):
    before = look(stage)
    check(weft('serve', 'file:new.img,create=4MiB', *ON, preexec_fn=small_files), FAILED,
          ['create', '4194304 bytes', 'choose less'], before, stage)


def test_a_write_beyond_the_limit_of_files_fails_and_ends_nothing(weft, stage):
    with open(f'{stage}/large.img', 'wb') as image:
        image.truncate(2 << 20)
    done = weft('bench', 'file:large.img', '--rw', 'write', '--amount', '2MiB', '--time', '0', preexec_fn=small_files)
    assert (done.status, len(said(done.err))) == (FAILED, 1) and 'File too large' in done.err


def test_too_little_memory_is_told(weft, stage):
    def little():
        resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))

    before = look(stage)
    check(weft('serve', 'mem:1TiB', *ON, preexec_fn=little), FAILED, ['mem', 'size=', 'smaller', 'ulimit -v'], before, stage)


def test_a_name_with_a_line_end_makes_one_line(weft, stage):
    before = look(stage)
    check(weft('serve', 'file:no\nne.img', *ON), FAILED, ['no?ne.img', 'no such file'], before, stage)
