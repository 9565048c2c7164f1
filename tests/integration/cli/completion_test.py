# SPDX-License-Identifier: BSD-2-Clause
"""Completion in bash and zsh knows what the tables know: the shells' own functions are run."""
import json
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from waiting import BUILD, LIMIT, WEFT, end_with_parent

READY = 'ready> '


@pytest.fixture(scope='module')
def scripts(tmp_path_factory):
    """-> the folder that holds weft.bash and _weft"""
    folder = tmp_path_factory.mktemp('completion')
    for shell, name in (('bash', 'weft.bash'), ('zsh', '_weft')):
        with open(folder / name, 'w', encoding='utf-8') as script:
            subprocess.run([WEFT, 'help', '--completion', shell], stdin=subprocess.DEVNULL, stdout=script, check=True)
    return folder


@pytest.fixture
def bash(scripts, folder):
    """bash('weft be') -> what could stand there"""
    for name in ('disk.img', 'dir/x.img', 'other.txt'):
        os.makedirs(os.path.dirname(f'{folder}/{name}'), exist_ok=True)
        with open(f'{folder}/{name}', 'w', encoding='utf-8'):
            pass

    def run(line):
        script = 'source "$1"; COMP_LINE=$2 COMP_POINT=${#2}; _weft; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(['bash', '--norc', '-uc', script, 'bash', str(scripts / 'weft.bash'), line], cwd=folder,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        assert done.stderr == '', done.stderr
        return sorted(filter(None, done.stdout.split('\n')))
    return run


def told(*arguments):
    return json.loads(subprocess.run([WEFT, *arguments, '--json'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                     check=True).stdout)


def kinds(*types):
    return sorted(f"{kind['kind']}:" for kind in told('list') if kind['type'] in types)


def commands():
    text = subprocess.run([WEFT, 'help'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True).stdout
    return sorted(re.findall(r'^  weft (\S+)', text, re.MULTILINE))


def options(command):
    text = subprocess.run([WEFT, command, '--help'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True).stdout
    return sorted(set(re.findall(r'^  (--\S+)', text, re.MULTILINE)) | {'--help'})


def test_commands(bash):
    assert bash('weft ') == sorted([*commands(), '--help', '--version'])
    assert bash('weft be') == ['bench'] and bash('weft help be') == ['bench'] and bash('weft x') == []


def test_every_option_of_every_command(bash):
    for command in commands():
        assert bash(f'weft {command} --') == options(command), command


@pytest.mark.parametrize('line, expected', [
    ('weft bench --mode ', ['adaptive', 'notify', 'poll']),
    ('weft bench --mode=', ['adaptive', 'notify', 'poll']),
    ('weft bench --mode no', ['notify']),
    ('weft bench mem:1MiB --rw rand', ['randread', 'randrw', 'randwrite']),
    ('weft bench --depth ', []),
    ('weft bench --plot d', ['dir/', 'disk.img']),
    ('weft copy --verify f', ['file:']),
    ('weft serve --config o', ['other.txt']),
    ('weft explain fi', ['file']),
    ('weft ctl d', ['dir/', 'disk.img']),
    ('weft ctl sock re', ['remove', 'requests', 'resize']),
    ('weft ctl --json sock re', ['remove', 'requests', 'resize']),
    ('weft ctl sock insert d', []),
    ('weft top d', ['dir/', 'disk.img']),
    ('weft top sock d', []),
    ('weft list c', ['components']),
    ('weft list components c', []),
    ('weft copy --bs 4KiB file:disk.img fi', ['file:']),
    ('weft copy file:disk.img mem:1MiB fi', []),
    ('weft bench --compare o', ['other.txt']),
    ('weft info file:d', ['dir/', 'direct=', 'discard=', 'disk.img']),
    ('weft info file:disk.img,dire', ['disk.img,direct=']),
    ('weft info file:disk.img,direct=o', ['off', 'on']),
    ('weft info file:disk.img,readonly=', ['off', 'on']),
    ('weft info mem:1MiB,block=', []),
    ('weft info mirror:[fi', ['[file:']),
    ('weft info mirror:[file:dis', ['disk.img', 'discard=']),
    ('weft info mirror:[file:disk.img],[nul', ['disk.img],[null:']),
    ('weft info slice:[mem:1MiB],off', ['1MiB],offset=']),
    ('weft serve mem:1MiB --through del', ['delay:']),
    ('weft serve mem:1MiB --through delay:rea', ['read=']),
    ('weft serve mem:1MiB --on vh', ['vhost-user:']),
    ('weft serve mem:1MiB --on vhost-user:d', ['dir/', 'disk.img']),
    ('weft serve mem:1MiB --on vhost-user:a.sock fil', ['file:']),
    ('weft serve mem:1MiB --on vhost-user:a.sock mem:1MiB --through del', ['delay:']),
    ('weft serve mem:1MiB --on vhost-user:a.sock --config o', ['other.txt']),
])
def test_places(bash, line, expected):
    """What bash has cut off at a colon or an equals sign is not told again."""
    assert bash(line) == sorted(expected)


def test_devices_layers_and_exports_are_told_apart(bash):
    assert bash('weft info ') == kinds('device', 'filter')
    assert bash('weft serve mem:1MiB --through ') == kinds('filter')
    assert bash('weft serve mem:1MiB --on ') == kinds('export')


def test_every_option_of_every_component(bash):
    for kind in told('list'):
        (table,) = [table for table in told('explain', kind['kind']) if table['type'] == kind['type']]
        line = 'weft serve mem:1MiB --on ' if kind['type'] == 'export' else 'weft info '
        found = {word.rsplit(',', 1)[-1] for word in bash(f"{line}{kind['kind']}:x,")}
        assert found == {f"{option['name']}=" for option in table['options']} | {'name='}, kind


def test_the_build_makes_what_is_installed(scripts):
    for name in ('weft.bash', '_weft'):
        with open(os.path.join(BUILD, name), encoding='utf-8') as built:
            assert built.read() == (scripts / name).read_text()


# ---- shells, as a user sits at them ----

class Shell:
    def __init__(self, folder, command, prepare):
        pid, self.terminal = pty.fork()
        if pid == 0:
            end_with_parent()
            os.chdir(folder)
            os.execvpe(command[0], command, {**os.environ, 'TERM': 'vt100', 'LC_ALL': 'C', 'HOME': folder})
        self.pid = pid
        self.type(f"PS1='{READY}' COLUMNS=200; {prepare}\n")
        self.until(READY.strip(), 2)

    def type(self, text):
        os.write(self.terminal, text.encode())

    def until(self, wanted, times=1):
        """-> all that was shown until `wanted` had come so often"""
        shown, end = '', time.monotonic() + LIMIT
        while shown.count(wanted) < times:
            assert select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0], shown
            shown += re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]|\x1b.|[\x00-\x09\x0b-\x1f]', '', os.read(self.terminal, 65536).decode())
        return shown

    def close(self):
        os.close(self.terminal)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


@pytest.fixture
def zsh(scripts, folder):
    with open(f'{folder}/disk.img', 'w', encoding='utf-8'):
        pass
    prepare = f'fpath=({scripts} $fpath) LISTMAX=1000; autoload -Uz compinit; compinit -u -D'
    shell = Shell(folder, ['zsh', '-f', '-i'], prepare)
    yield shell
    shell.close()


@pytest.fixture
def typed_bash(scripts, folder):
    with open(f'{folder}/disk.img', 'w', encoding='utf-8'):
        pass
    shell = Shell(folder, ['bash', '--norc', '--noprofile', '-i'], f'source {scripts}/weft.bash')
    yield shell
    shell.close()


@pytest.mark.parametrize('typed, wanted', [
    ('weft check-\t', 'check-contract '), ('weft bench --toler\t', '--tolerance'), ('weft bench --mode=noti\t', '--mode=notify'),
    ('weft info fil\t', 'file:'), ('weft info file:disk.img,readon\t', 'readonly='), ('weft info file:dis\t\t', 'disk.img'),
    ('weft info file:disk.img,direct=au\t', 'direct=auto'), ('weft serve mem:1MiB --through del\t', 'delay:'),
    ('weft ctl sock requ\t', 'requests'), ('weft explain strip\t', 'stripe'),
])
def test_bash_completes(typed_bash, typed, wanted):
    typed_bash.type(typed)
    assert wanted in typed_bash.until(wanted)


@pytest.mark.skipif(not shutil.which('zsh'), reason='no zsh')
@pytest.mark.parametrize('typed, wanted', [
    ('weft check-\t', 'check-contract'), ('weft bench --toler\t', '--tolerance='), ('weft bench --mode=noti\t', '--mode=notify'),
    ('weft info fil\t', 'file:'), ('weft info file:disk.img,readon\t', 'readonly='), ('weft info file:dis\t\t', 'disk.img'),
    ('weft info file:disk.img,direct=au\t', 'direct=auto'), ('weft info mirror:\\[vhost\t', 'vhost-user:'),
    ('weft serve mem:1MiB --on vhost-user:a fil\t', 'file:'),
    ('weft serve mem:1MiB --through del\t', 'delay:'), ('weft ctl sock requ\t', 'requests'), ('weft explain strip\t', 'stripe'),
])
def test_zsh_completes(zsh, typed, wanted):
    zsh.type(typed)
    assert wanted in zsh.until(wanted)
