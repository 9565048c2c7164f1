# SPDX-License-Identifier: BSD-2-Clause
"""The examples do what they say."""
import hashlib
import os
import signal
import subprocess

import weft
from built import BUILD, ROOT, environment


def start(name, *arguments):
    return subprocess.Popen(['/usr/bin/python3', os.path.join(ROOT, 'examples/python', name), *arguments],
                            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def run(name, *arguments):
    child = start(name, *arguments)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    return out


def test_what_is_installed_is_found_where_python_looks(tmp_path):
    subprocess.run(['meson', 'install', '--no-rebuild', '-C', BUILD, '--destdir', str(tmp_path)], stdout=subprocess.PIPE,
                   stderr=subprocess.STDOUT, check=True)
    folders = {name: folder for folder, _, names in os.walk(tmp_path) for name in names if name in ('libweft.so.0', 'aio.py')}
    package = os.path.dirname(folders['aio.py'])
    script = "import sys, weft.aio; print(weft.open('mem:1MiB').size, weft.__file__); print(*sys.path, sep='\\n')"
    out = subprocess.run(['/usr/bin/python3', '-c', script], env=environment(package,
                         LD_LIBRARY_PATH=folders['libweft.so.0']), stdout=subprocess.PIPE, text=True, check=True).stdout
    first, *path = out.splitlines()
    assert first == f'1048576 {package}/weft/__init__.py'
    assert package[len(str(tmp_path)):] in path


def test_read_sums_all_of_it(tmp_path):
    data = os.urandom((5 << 20) + 1024)
    (tmp_path / 'disk.img').write_bytes(data)
    assert run('read.py', f'file:{tmp_path}/disk.img') == hashlib.sha256(data).hexdigest() + '\n'


def test_copy_copies_what_is_there(tmp_path):
    data = bytes(1 << 20) + os.urandom(3 << 20) + bytes(4 << 20)
    with open(tmp_path / 'from.img', 'wb') as f:
        f.seek(1 << 20)
        f.write(data[1 << 20:4 << 20])
        f.truncate(len(data))
    assert f'of {len(data)}' in run('copy.py', f'file:{tmp_path}/from.img', f'file:{tmp_path}/to.img,create=8MiB')
    assert (tmp_path / 'to.img').read_bytes() == data


def test_serve_serves(folder, instance):
    child = start('serve.py', f'{folder}/vm.sock')
    try:
        assert child.stdout.readline() == f'serving {folder}/vm.sock\n'
        with instance.open(f'vhost-user:{folder}/vm.sock') as disk:
            assert disk.size == 63 << 20
            disk.write(4096, b'x' * 4096)
            assert disk.read(0, 8192) == bytes(4096) + b'x' * 4096
            assert isinstance(disk, weft.Device)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=60)
        assert (child.returncode, out) == (0, '1 writes\n'), err
    finally:
        child.kill()
        child.wait()
