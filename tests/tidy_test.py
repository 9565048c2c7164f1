# SPDX-License-Identifier: BSD-2-Clause
"""Each rule of tools/tidy bites: a small tree that breaks it is found out, and one that obeys is not."""
import json
import os
import subprocess

import pytest

from tidy_module import tidy
from waiting import gone

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LICENCE = '/* SPDX-License-Identifier: BSD-2-Clause */\n/* For a test. */\n'
HASH = '# SPDX-License-Identifier: BSD-2-Clause\n'
PAGE = '.\\" SPDX-License-Identifier: BSD-2-Clause\n.Dd November 1, 2026\n.Dt X 7\n.Os\n' \
       '.Sh NAME\n.Nm x\n.Nd a page\n.Sh DESCRIPTION\n'


def make(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tidy.Tree(folder)


def findings(rule, folder, files):
    return list(tidy.RULES[rule](make(folder, files)))


def compiled(folder, files, kind='libweft_static.a.p'):
    """The same tree with its sources compiled as a build would have."""
    make(folder, files)
    entries = []
    (folder / 'build' / kind).mkdir(parents=True)
    for name in [f for f in files if f.endswith('.c')]:
        output = kind + '/' + name.replace('/', '_') + '.o'
        command = ['gcc', '-O2', '-fPIC', '-c', name, '-o', folder / 'build' / output]
        subprocess.run(command, cwd=folder, check=True)
        entries.append({'directory': str(folder / 'build'), 'file': '../' + name, 'output': output})
    (folder / 'build/compile_commands.json').write_text(json.dumps(entries))
    return tidy.Tree(folder)


def shared(folder, code, listed, header):
    tree = compiled(folder, {'lib/a.c': code, 'lib/libweft.symbols': listed, 'include/weft/a.h': header})
    subprocess.run(['gcc', '-shared', '-fPIC', 'lib/a.c', '-o', 'build/libweft.so'], cwd=folder, check=True)
    return tidy.Tree(tree.root)


FINE_AND_BROKEN = [
    ('layers',
     {'core/a.c': '#include "wire/b.h"\n#include <weft/c.h>\n', 'wire/b.h': '', 'include/weft/c.h': ''},
     {'wire/b.c': '#include "core/a.h"\n', 'core/a.h': ''}, 'wire/b.c', 1),
    ('layers', {'core/a.c': '#include "env/env.h"\n', 'env/env.h': ''},
     {'core/a.c': '#include "env/inside.h"\n', 'env/inside.h': ''}, 'core/a.c', 1),
    ('layers', {'devices/a/a.c': '#include "devices/device.h"\n', 'devices/device.h': ''},
     {'devices/a/a.c': '\n#include "devices/b/b.h"\n', 'devices/b/b.h': ''}, 'devices/a/a.c', 2),
    ('layers', {'core/a_test.c': '#include "env/sim/sim.h"\n', 'env/sim/sim.h': ''},
     {'core/a.c': '#include "a.h"\n', 'core/a.h': ''}, 'core/a.c', 1),
    ('headers', {'include/weft/a.h': '#include <stdint.h>\nuint32_t a(void);\n'},
     {'include/weft/a.h': '\nuint32_t a(void);\n'}, 'include/weft/a.h', 2),
    ('headers', {'include/weft/a.h': 'struct a { int b; };\n'},
     {'include/weft/a.h': 'struct a { int class; };\n'}, 'include/weft/a.h', 1),
    ('headers', {'core/a.h': '#include <stdint.h>\nextern uint8_t a;\n'},
     {'core/a.h': 'extern uint8_t a;\n'}, 'core/a.h', 1),
    ('version', {'include/weft/base.h': '#define WEFT_VERSION "1.0"\n', 'meson.build': "  version: '1.0',\n"},
     {'include/weft/base.h': '#define WEFT_VERSION "1.1"\n', 'meson.build': "  version: '1.0',\n"},
     'include/weft/base.h', 1),
    ('length', {'core/a.c': 'int a(void)\n{\n' + '\ta();\n' * 66 + '\treturn 0;\n}\n'},
     {'core/a.c': '\nint a(void)\n{\n' + '\ta();\n' * 67 + '\treturn 0;\n}\n'}, 'core/a.c', 2),
    ('length', {'core/a.c': '\n' * 1000}, {'core/a.c': '\n' * 1001}, 'core/a.c', 1000),
    ('length', {'core/a.h': '\n' * 400}, {'core/a.h': '\n' * 401}, 'core/a.h', 400),
    ('looks', {'core/a.c': '\t' + 'a' * 124 + '\n'}, {'core/a.c': '\t' + 'a' * 125 + '\n'}, 'core/a.c', 1),
    ('looks', {'core/a.c': '/*\n   b */\na\n'}, {'core/a.c': '/* b */\n  a\n'}, 'core/a.c', 2),
    ('looks', {'core/a.c': 'a\n'}, {'core/a.c': 'a \n'}, 'core/a.c', 1),
    ('looks', {'a.md': 'a\n'}, {'a.md': 'a'}, 'a.md', 1),
    ('looks', {'a.py': '    a\n'}, {'a.py': '\ta\n'}, 'a.py', 1),
    ('licence', {'core/a.c': LICENCE}, {'core/a.c': '/* For a test. */\n'}, 'core/a.c', 1),
    ('licence', {'core/a.c': LICENCE}, {'core/a.c': LICENCE.split('\n')[0] + '\nint a;\n'}, 'core/a.c', 2),
    ('licence', {'tools/a': '#!/bin/sh\n' + HASH}, {'tools/a': '#!/bin/sh\n'}, 'tools/a', 2),
    ('notes', {'core/a.c': '/* to do that */\n'}, {'core/a.c': '\n/* TO' + 'DO that */\n'}, 'core/a.c', 2),
    ('assertions', {'core/a.c': 'void a(void)\n{\n\tWEFT_ASSERT(1);\n\n\tb();\n\tc();\n}\n'},
     {'core/a.c': 'void a(void)\n{\n\tb();\n\n\tb();\n\tc();\n}\n'}, 'core', 1),
    ('components', {'devices/a/a.c': '', 'devices/a/a_test.c': '', 'devices/a/a.7': ''},
     {'devices/a/a.c': '', 'devices/a/a_test.c': ''}, 'devices/a', 1),
    ('components', {'exports/a_b/a_b.c': '', 'exports/a_b/a_b_test.c': '', 'exports/a_b/a-b.7': ''},
     {'exports/a_b/a_b.c': '', 'exports/a_b/a-b.7': ''}, 'exports/a_b', 1),
    ('manual', {'devices/a/a.7': PAGE + 'a\n'}, {'devices/a/a.7': PAGE + '.Nosuch\na\n'},
     'devices/a/a.7', 9),
    ('links', {'a.md': '[b](b.md) `core/c.c`\n', 'b.md': '', 'core/c.c': ''},
     {'a.md': '\n[b](c.md)\n'}, 'a.md', 2),
    ('links', {'a.md': '`core/c.c` `some/thing`\n', 'core/c.c': ''},
     {'a.md': '`core/d.c`\n', 'core/c.c': ''}, 'a.md', 1),
    ('dependencies',
     {'tools/install-deps': "build='gcc make'\n", 'docs/dependencies.md': 'gcc, make: to build\n'},
     {'tools/install-deps': "build='gcc make'\n", 'docs/dependencies.md': 'libgcc-dev, make\n'},
     'docs/dependencies.md', 1),
    ('commands', {'a.md': '```sh\ntrue\n```\n```console\nfalse\n```\n'},
     {'a.md': '\n```sh\nfalse\ntrue\n```\n'}, 'a.md', 3),
    ('commands', {'a.7': '.\\" run\n.Bd -literal\ntrue\n.Ed\n.Bd -literal\nfalse\n.Ed\n'},
     {'a.7': '.\\" run\n.Bd -literal\nfalse\n.Ed\n'}, 'a.7', 3),
    ('shell', {'a.sh': '#!/bin/sh\necho "$1"\n'}, {'a.sh': '#!/bin/sh\necho $1\n'}, 'a.sh', 2),
]


@pytest.mark.parametrize('rule,fine,broken,path,line', FINE_AND_BROKEN)
def test_rule_bites(tmp_path, rule, fine, broken, path, line):
    assert findings(rule, tmp_path / 'fine', fine) == []
    found = findings(rule, tmp_path / 'broken', broken)
    assert (path, line) in [(f.path, f.line) for f in found]


def test_length_counts_functions_in_headers(tmp_path):
    body = 'static inline int a(void)\n{\n' + '\tb();\n' * 70 + '\treturn 0;\n}\n'
    assert [f.line for f in findings('length', tmp_path, {'core/a.h': body})] == [1]


def test_uses_finds_calls_upwards_without_a_header(tmp_path):
    up = 'int b(void);\nint a(void);\nint a(void)\n{\n\treturn b();\n}\n'
    down = 'int b(void);\nint b(void) { return 1; }\n'
    fine = compiled(tmp_path / 'fine', {'devices/a/a.c': up, 'core/b.c': down})
    assert not list(tidy.RULES['uses'](fine))
    broken = compiled(tmp_path / 'broken', {'core/a.c': up, 'devices/b/b.c': down})
    assert [(f.path, f.line) for f in tidy.RULES['uses'](broken)] == [('core/a.c', 1)]
    beside = compiled(tmp_path / 'beside', {'devices/a/a.c': up, 'devices/b/b.c': down})
    assert [f.path for f in tidy.RULES['uses'](beside)] == ['devices/a/a.c']


def test_calls_finds_the_kernel_outside_env(tmp_path):
    code = LICENCE + '#include <unistd.h>\nint a(void);\nint a(void)\n{\n\treturn getpid();\n}\n'
    tree = compiled(tmp_path, {'core/a.c': code, 'env/linux/a.c': code, 'core/a_test.c': code})
    assert [(f.path, f.line) for f in tidy.RULES['calls'](tree)] == [('core/a.c', 7)]


def test_calls_knows_checked_variants(tmp_path):
    code = '#include <stdlib.h>\n#include <string.h>\n' \
           'char *a(const char *s);\nchar *a(const char *s)\n{\n\treturn strdup(s);\n}\n'
    assert [f.line for f in tidy.RULES['calls'](compiled(tmp_path, {'core/a.c': code}))] == [6]


def test_calls_allows_pure_functions_and_our_own(tmp_path):
    tree = compiled(tmp_path, {
        'core/a.c': '#include <string.h>\nsize_t b(void);\nsize_t a(const char *s);\n'
                    'size_t a(const char *s) { return strlen(s) + b(); }\n',
        'core/b.c': '#include <stddef.h>\nsize_t b(void);\nsize_t b(void) { return 1; }\n'})
    assert not list(tidy.RULES['calls'](tree))


def test_calls_lets_the_command_print_but_not_wait(tmp_path):
    code = '#include <stdio.h>\n#include <unistd.h>\nint main(void)\n{\n\tputs("a");\n\tsleep(1);\n}\n'
    assert [f.line for f in tidy.RULES['calls'](compiled(tmp_path, {'cli/a.c': code}, 'weft.p'))] == [6]


def test_state_finds_what_outlives_a_core(tmp_path):
    code = 'static int count;\nint a(void);\n' \
           'int a(void)\n{\n\tstatic int again;\n\treturn count++ + again++;\n}\n'
    tree = compiled(tmp_path, {'core/a.c': code, 'env/a.c': code})
    assert sorted((f.path, f.line) for f in tidy.RULES['state'](tree)) == [('core/a.c', 1), ('core/a.c', 5)]


def test_state_allows_constants_that_hold_addresses(tmp_path):
    code = 'int a(void);\nint a(void) { return 1; }\nstruct t { int (*f)(void); };\n' \
           'extern const struct t t;\nconst struct t t = {a};\n'
    assert not list(tidy.RULES['state'](compiled(tmp_path, {'core/a.c': code})))


def test_symbols_match_the_list(tmp_path):
    code = 'int weft_a(void);\nint weft_a(void) { return 1; }\n'
    fine = shared(tmp_path / 'fine', code, 'weft_a\n', 'int weft_a(void);\n')
    assert not list(tidy.RULES['symbols'](fine))


HEADER = '#include <stdint.h>\nenum e {{ E_A, {} }};\nstruct s {{\n\tuint32_t a{};\n}};\nint f({});\n'


@pytest.mark.parametrize('now, said', [
    (('E_B', '', 'int a'), None),
    (('E_C, E_B', '', 'int a'), 'E_B'),
    (('E_B', ', b', 'int a'), 'size changed from 32 to 64'),
    (('E_B', '', 'long a'), "'int' to 'long int'"),
    (('E_B', '', 'mistake a'), 'do not compile')])
def test_abi_finds_what_the_headers_promise_no_more(tmp_path, now, said):
    code = '#include "../include/weft/a.h"\nint f(int a)\n{\n\treturn a;\n}\n'
    tidy.accept_symbols(shared(tmp_path, code, 'f\n', HEADER.format('E_B', '', 'int a')))
    (tmp_path / 'include/weft/a.h').write_text(HEADER.format(*now))
    found = list(tidy.RULES['abi'](tidy.Tree(tmp_path)))
    assert not found if said is None else len(found) == 1 and said in found[0].text


BEFORE = 'enum e { E_A };\nstruct s { int a; };\nint f(int a);\nint g(void);\n'


@pytest.mark.parametrize('old, new, breaks', [
    ('', '', False),
    ('int g', 'int h(void);\nint g', False),
    ('E_A', 'E_A, E_B', False),
    ('enum e', 'struct t { int b; };\nenum e', False),
    ('int g', 'static int g', True),
    ('E_A', 'E_B, E_A', True),
    ('{ int a;', '{ int a, b;', True),
    ('f(int a', 'f(long a', True)])
def test_a_break_is_accepted_with_a_higher_number_only(tmp_path, old, new, breaks):
    def change(abi, old='', new=''):
        """The library and its header with `new` instead of `old`."""
        header = BEFORE.replace(old, new, 1)
        make(tmp_path, {'include/weft/base.h': f'#define WEFT_ABI {abi}\n', 'include/weft/a.h': header,
                        'build/a.c': header.replace(');', ') { return 0; }')})
        subprocess.run(['gcc', '-shared', '-fPIC', 'build/a.c', '-o', 'build/libweft.so'], cwd=tmp_path, check=True)
        return tidy.Tree(tmp_path)

    def record():
        return [(tmp_path / name).read_text() for name in ('lib/libweft.abi', 'lib/libweft.symbols')]

    make(tmp_path, {'lib/libweft.symbols': ''})
    tidy.accept_symbols(change(2))
    before = record()
    if breaks:
        for abi in (2, 1):
            with pytest.raises(SystemExit, match='raise WEFT_ABI in include/weft/base.h above 2'):
                tidy.accept_symbols(change(abi, old, new))
            assert record() == before
        assert list(tidy.RULES['abi'](change(3, old, new)))
    tidy.accept_symbols(change(3 if breaks else 2, old, new))
    assert not list(tidy.RULES['abi'](tidy.Tree(tmp_path))) and not list(tidy.RULES['symbols'](tidy.Tree(tmp_path)))


def test_symbols_finds_what_is_not_listed_not_shown_not_declared(tmp_path):
    code = 'int weft_a(void);\nint weft_a(void) { return 1; }\n'
    tree = shared(tmp_path, code, 'weft_b\n', 'int weft_b(void);\n')
    texts = ' '.join(f.text for f in tidy.RULES['symbols'](tree))
    assert 'shows weft_a, which is not listed' in texts
    assert 'does not show weft_b' in texts
    assert 'weft_a is in no installed header' in texts


def test_commands_run_in_an_empty_folder_with_the_build_in_path(tmp_path):
    tree = make(tmp_path, {
        'a.md': '```sh\n[ -z "$(ls)" ]\nour-command\n```\n', 'build/our-command': '#!/bin/sh\nexit 0\n'})
    (tmp_path / 'build/our-command').chmod(0o755)
    assert not list(tidy.RULES['commands'](tree))


def test_commands_end_what_a_block_leaves_running(tmp_path):
    tree = make(tmp_path, {'a.md': f'```sh\nsleep 1000 &\necho $! >{tmp_path}/pid\n```\n'})
    assert not list(tidy.RULES['commands'](tree))
    assert gone(int((tmp_path / 'pid').read_text()))


def test_rules_that_look_at_the_build_fail_without_one(tmp_path):
    tree = make(tmp_path, {'core/a.c': ''})
    for rule in tidy.NEEDS_BUILD:
        assert 'run make first' in tidy.check(tree, rule)[0].text


def test_every_rule_is_tried_here():
    with open(__file__, encoding='utf-8') as f:
        text = f.read()
    tried = {row[0] for row in FINE_AND_BROKEN}
    assert not [r for r in tidy.RULES if r not in tried and f"RULES['{r}']" not in text]


def test_a_finding_names_file_line_rule_and_ends_with_1(tmp_path):
    make(tmp_path, {'core/a.c': LICENCE + 'a \n'})
    command = [os.path.join(ROOT, 'tools/tidy'), '--root', tmp_path, 'looks']
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert out.returncode == 1
    assert out.stdout.startswith('core/a.c:3: looks: ')
