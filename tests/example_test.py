# SPDX-License-Identifier: BSD-2-Clause
"""The examples: built outside the tree against what `make install` installs; the component loaded, the programs run."""
import contextlib
import os
import re
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WEFT = os.path.join(ROOT, 'build/weft')


def run(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """-> the environment in which pkg-config finds an installed weft"""
    target = tmp_path_factory.mktemp('installed')
    run('meson', 'install', '--no-rebuild', '-C', os.path.join(ROOT, 'build'), '--destdir', str(target))
    found = [folder for folder, _, names in os.walk(target) if 'weft.pc' in names]
    assert len(found) == 1
    return dict(os.environ, PKG_CONFIG_PATH=found[0], PKG_CONFIG_SYSROOT_DIR=str(target))


@pytest.fixture(scope='module')
def module(installed, tmp_path_factory):
    """-> the shared object, built in a folder of its own"""
    folder = tmp_path_factory.mktemp('xor') / 'filter-xor'
    shutil.copytree(os.path.join(ROOT, 'examples/filter-xor'), folder)
    run('make', '-C', str(folder), env=dict(installed, CFLAGS='-O2 -Wall -Wextra -Werror'))
    return str(folder / 'xor.so')


def test_filter_is_at_most_60_lines():
    with open(os.path.join(ROOT, 'examples/filter-xor/xor.c'), encoding='utf-8') as f:
        assert len(f.readlines()) <= 60


def test_builds_with_meson_as_a_project_of_its_own(installed, tmp_path):
    run('meson', 'setup', '--werror', str(tmp_path), os.path.join(ROOT, 'examples/filter-xor'), env=installed)
    run('ninja', '-C', str(tmp_path))
    assert os.path.exists(tmp_path / 'xor.so')


def test_takes_its_symbols_from_the_weft_that_loads_it(module):
    out = run('readelf', '-d', module).stdout
    assert 'libweft' not in out


def test_is_loaded_and_explained(module):
    out = run(WEFT, 'explain', 'xor', '--load', module).stdout
    assert 'XORs a byte onto every byte' in out
    assert 'key' in out


def test_data_comes_back_through_it(module, tmp_path):
    disk = tmp_path / 'disk.img'
    disk.write_bytes(bytes(1 << 20))
    run(WEFT, 'bench', f'xor:[file:{disk}],key=7', '--load', module, '--rw', 'randrw', '--verify', '--bs', '64KiB',
        '--amount', '16MiB')
    assert disk.read_bytes() != bytes(1 << 20)


def test_the_filter_of_the_tutorial_works(installed, tmp_path):
    with open(os.path.join(ROOT, 'docs/components.md'), encoding='utf-8') as f:
        (tmp_path / 'part.c').write_text('\n'.join(re.findall('```c\n(.*?)```', f.read(), re.S)))
    run('sh', '-c', 'cc -std=gnu11 -Wall -Wextra -Werror -shared -fPIC $(pkg-config --cflags weft) -o part.so part.c',
        env=installed, cwd=tmp_path)
    out = run(WEFT, 'info', 'part:[mem:1GiB],percent=25', '--load', str(tmp_path / 'part.so')).stdout
    assert '268434944 bytes' in out


@pytest.mark.parametrize('compiler', ['gcc', 'clang'])
def test_the_program_of_the_tutorial_works(installed, tmp_path, compiler):
    with open(os.path.join(ROOT, 'docs/libweft.md'), encoding='utf-8') as f:
        (tmp_path / 'write.c').write_text('\n'.join(re.findall('```c\n(.*?)```', f.read(), re.S)))
    run('sh', '-c', f'{compiler} -std=c11 -Wall -Wextra -Werror -o write write.c $(pkg-config --cflags --libs weft)',
        env=installed, cwd=tmp_path)
    library = os.path.dirname(installed['PKG_CONFIG_PATH'])
    out = run(str(tmp_path / 'write'), 'file:disk.img,create=1MiB', cwd=tmp_path,
              env=dict(installed, LD_LIBRARY_PATH=library)).stdout
    assert out == 'status 0\n'
    assert (tmp_path / 'disk.img').read_bytes() == b'w' * 4096 + bytes((1 << 20) - 4096)


def test_a_key_that_is_no_byte_is_refused(module):
    result = subprocess.run([WEFT, 'info', 'xor:[mem:1MiB],key=256', '--load', module], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode in (1, 2)
    assert 'key' in result.stderr


# ---- programs that link the library ----

SOURCES = [name for name in sorted(os.listdir(os.path.join(ROOT, 'examples'))) if name.endswith(('.c', '.cpp'))]
COMPILERS = {'gcc': {'.c': 'gcc', '.cpp': 'g++'}, 'clang': {'.c': 'clang-14', '.cpp': 'clang++-14'}}
STANDARDS = {'.c': '-std=c11', '.cpp': '-std=c++17'}


@pytest.fixture(scope='module', params=COMPILERS)
def programs(request, installed, tmp_path_factory):
    """-> a function: name of an example, arguments -> the words of its command"""
    folder = tmp_path_factory.mktemp('programs')
    library = next(place for place, _, names in os.walk(installed['PKG_CONFIG_SYSROOT_DIR']) if 'libweft.so' in names)
    for source in SOURCES:
        name, kind = os.path.splitext(source)
        packages = 'weft libuv' if name == 'libuv' else 'weft'
        words = run('pkg-config', '--cflags', '--libs', *packages.split(), env=installed).stdout.split()
        run(COMPILERS[request.param][kind], STANDARDS[kind], '-O2', '-Wall', '-Wextra', '-Werror', '-pthread', '-o',
            str(folder / name), os.path.join(ROOT, 'examples', source), *words, f'-Wl,-rpath,{library}')
    return lambda name, *arguments: [str(folder / name), *arguments]


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / 'disk.img'
    path.write_bytes(bytes(16 << 20))
    return path


@contextlib.contextmanager
def serving(command, socket):
    """Runs while the block lasts, until its standard input ends; has said that it serves. -> where, as a device"""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline().startswith('serving')
        yield f'vhost-user:{socket}'
        child.stdin.close()
        if command[0] == WEFT:
            child.terminate()
        assert child.wait(30) == 0


@pytest.mark.parametrize('name, told', [
    ('poll', '10000 reads from'), ('wait', '16 sent\n16 ended, 0 cancelled'), ('epoll', '1000 reads'), ('libuv', '1000 reads'),
    ('threads', '20000 writes by 4 threads'), ('queued', '6000 writes, 6000 carried'), ('raii', 'the same'),
    ('counter', '2000 counted by 4 threads')])
@pytest.mark.parametrize('on', ['memory', 'file'])
def test_a_program_asks_a_device(programs, disk, name, told, on):
    device = [f'file:{disk}'] if on == 'file' else []
    assert run(*programs(name, *device), timeout=60).stdout.startswith(told)


def test_a_program_asks_for_versions_of_symbols(programs):
    shown = run('readelf', '--dynamic', '--dyn-syms', '--wide', *programs('poll')).stdout
    asked = re.findall(r' (weft_\w+)(@\w+)?', shown)
    assert len(asked) > 5 and {version for _, version in asked} == {'@WEFT_0'}
    assert 'Shared library: [libweft.so.0]' in shown


def test_what_takes_too_long_is_cancelled(programs):
    assert run(*programs('wait', 'delay:[mem:1MiB],write=1h'), timeout=60).stdout == '16 sent\n16 ended, 16 cancelled\n'


def test_devices_are_opened_in_the_background(programs):
    out = run(*programs('events'), timeout=60).stdout
    assert all(f'{name} is {what}\n' in out for name in ('mem:64MiB', 'null:1GiB') for what in ('open', 'closed'))
    assert 'file:/does/not/exist: file: address: no such file' in out


@pytest.fixture
def socket(tmp_path_factory):
    return tmp_path_factory.mktemp('s') / 'vm.sock'


def test_memory_is_shared_with_a_server(programs, disk, socket):
    server = [WEFT, 'serve', f'file:{disk}', '--on', f'vhost-user:{socket}', '--log', 'error']
    with serving(server, socket) as device:
        out = run(*programs('shared', device), timeout=60).stdout
    assert out == '4194304 bytes there and back, 0 pieces outside shared memory\n'
    assert disk.read_bytes()[:4096] == bytes((i * 31) % 256 for i in range(4096))


def test_a_program_serves_a_device_of_its_own(programs, socket):
    with serving(programs('host', str(socket)), socket) as device:
        assert '3145728 bytes' in run(WEFT, 'info', device).stdout
        run(WEFT, 'bench', device, '--rw', 'mixed', '--verify', '--amount', '16MiB', '--time', '0', timeout=60)


def test_a_program_that_serves_is_less_than_80_lines():
    with open(os.path.join(ROOT, 'examples/host.c'), encoding='utf-8') as f:
        assert len(f.readlines()) < 80


def test_what_is_wrong_is_said(programs, socket):
    for command in (programs('poll', 'nothing:'), programs('raii', 'nothing:'), programs('shared', f'vhost-user:{socket}')):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
        assert done.returncode == 1 and done.stderr
