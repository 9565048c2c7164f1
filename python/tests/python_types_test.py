# SPDX-License-Identifier: BSD-2-Clause
"""The types: the extension is what its stubs say, the package is of one mind with itself, and programs are told what is wrong."""
import ast
import inspect
import os
import subprocess

import pytest

from weft import _core
from built import PACKAGE, PRELOAD, ROOT, environment


pytestmark = pytest.mark.skipif(PRELOAD is not None, reason='types are the same under a sanitizer')


@pytest.fixture(scope='module')
def asked(tmp_path_factory):
    """asked('mypy', ...) -> (status, what it said)"""
    folder = tmp_path_factory.mktemp('mypy')

    def ask(*command):
        done = subprocess.run(['/usr/bin/python3', '-m', *command], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=environment(MYPY_CACHE_DIR=str(folder)), text=True, timeout=300,
                              check=False)
        return done.returncode, done.stdout
    return ask


def test_the_extension_is_as_its_stubs_say(asked, tmp_path):
    # Of a type in C, Python 3.11 says (*args, **kwargs), and not that it is a buffer.
    (tmp_path / 'allowed').write_text('weft._core.Instance.__init__\nweft._core.Memory.__buffer__\n')
    command = ('mypy.stubtest', '--allowlist', str(tmp_path / 'allowed'), 'weft._core')
    assert asked(*command) == (0, 'Success: no issues found in 1 module\n')


def parameters(function):
    """-> [(name, by name only, may be left out)] of a function in stubs"""
    names, more = function.args.args[1:], function.args.kwonlyargs
    first = len(names) - len(function.args.defaults)
    return [(a.arg, False, i >= first) for i, a in enumerate(names)] + \
        [(a.arg, True, d is not None) for a, d in zip(more, function.args.kw_defaults)]


def test_types_are_made_as_their_stubs_say():
    with open(os.path.join(PACKAGE, 'weft/_core.pyi'), encoding='utf-8') as f:
        classes = [node for node in ast.parse(f.read()).body if isinstance(node, ast.ClassDef)]
    inits = {c.name: parameters(m) for c in classes for m in c.body if isinstance(m, ast.FunctionDef) and m.name == '__init__'}
    made = {name: [(p.name, p.kind is p.KEYWORD_ONLY, p.default is not p.empty)
                   for p in inspect.signature(getattr(_core, name)).parameters.values()] for name in inits}
    assert inits == made and set(inits) == {'Instance', 'Export', 'Queue', 'Served'}


def test_the_package_is_typed(asked):
    strict = ('--disallow-untyped-defs', '--disallow-incomplete-defs', '--disallow-any-generics', '--warn-unused-ignores',
              '--no-implicit-reexport', '--strict-equality')
    status, said = asked('mypy', *strict, '-p', 'weft')
    assert status == 0, said


@pytest.mark.parametrize('how, program', [('--strict', 'python/tests/typed.py'), *[
    ('--check-untyped-defs', f'examples/python/{name}.py') for name in ('copy', 'serve')]])
def test_a_program_is_checked(asked, how, program):
    """What must not be done is marked so in typed.py: a mark that is not needed is an error as well. read.py is left out: that a
    class can be a buffer is known to a later mypy."""
    status, said = asked('mypy', how, os.path.join(ROOT, program))
    assert status == 0, said
