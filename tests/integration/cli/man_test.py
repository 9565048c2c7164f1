# SPDX-License-Identifier: BSD-2-Clause
"""Manual pages say what the tables and the headers say."""
import glob
import json
import os
import re
import subprocess

import pytest

from waiting import ROOT, WEFT

PAGES = ['', 'serve', 'ctl', 'top', 'bench', 'check-contract', 'copy', 'info', 'list', 'explain', 'demo']
REMAKE = 'make manual'


def told(*arguments):
    return subprocess.run([WEFT, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True).stdout


def shown(path):
    """The page as a reader sees it."""
    text = subprocess.run(['mandoc', '-T', 'utf8', path], stdout=subprocess.PIPE, text=True, check=True).stdout
    return re.sub('.\b', '', text).replace('‐', '-').replace('−', '-')


@pytest.mark.parametrize('command', PAGES)
def test_a_command_s_page_is_what_its_tables_make(command):
    name = f'weft-{command}.1' if command else 'weft.1'
    with open(os.path.join(ROOT, 'docs/man', name), encoding='utf-8') as page:
        assert page.read() == told('help', '--man', *([command] if command else [])), f'run: {REMAKE}'


def component_pages():
    """-> {(kind, whether it is an export): path}"""
    found = {}
    for path in glob.glob(os.path.join(ROOT, 'devices/*/*.7')) + glob.glob(os.path.join(ROOT, 'exports/*/*.7')):
        name = os.path.basename(path)[:-2]
        found[(name.removesuffix('-export'), '/exports/' in path)] = path
    return found


def kinds():
    return [(entry['kind'], entry['type'] == 'export') for entry in json.loads(told('list', '--json'))]


def test_every_component_has_a_page():
    assert sorted(component_pages()) == sorted(kinds())


def test_a_component_s_page_names_each_of_its_options():
    pages, missing = component_pages(), []
    for kind, export in kinds():
        text = shown(pages[(kind, export)])
        for table in json.loads(told('explain', kind, '--json')):
            if (table['type'] == 'export') == export:
                missing += [f"{kind}: {option['name']}" for option in table['options']
                            if not re.search(rf"\b{re.escape(option['name'])}\b", text)]
    assert missing == []


# ---- libweft's calls ----

def words(text):
    return ' '.join(text.split())


def declared():
    """-> {call: (what it returns, [parameters])}, from the header"""
    with open(os.path.join(ROOT, 'include/weft/weft.h'), encoding='utf-8') as header:
        text = re.sub(r'/\*.*?\*/', '', header.read(), flags=re.DOTALL)
    return {name: (words(kind), [words(each) for each in parameters.split(',')])
            for kind, name, parameters in re.findall(r'WEFT_API\s+([^;]*?)\b(weft_\w+)\(([^;]*)\);', text)}


def call_pages():
    """-> {page: its source}"""
    return {os.path.basename(path)[:-2]: open(path, encoding='utf-8').read() for path in glob.glob(os.path.join(ROOT, 'lib/*.3'))}


def shown_calls(source):
    """-> {call: (what it returns, [parameters])}, from a page's synopsis"""
    return {name: (words(kind), [each.strip('"') for each in re.findall(r'\.Fa (.*)', parameters)])
            for kind, name, parameters in re.findall(r'\.Ft (.*)\n\.Fo (\w+)\n((?:\.Fa .*\n)*)\.Fc', source)}


def test_every_call_is_on_one_page_as_the_header_declares_it():
    shown = [call for source in call_pages().values() for call in shown_calls(source).items()]
    assert len(declared()) > 60 and sorted(name for name, _ in shown) == sorted(declared())
    assert dict(shown) == declared()


def test_a_page_has_the_names_of_its_calls_and_says_which_errors_there_are():
    for page, source in call_pages().items():
        named = re.findall(r'^\.Nm (\w+)', source, re.MULTILINE)
        assert sorted(named) == sorted(shown_calls(source)), page
        errors = source[source.index('.Sh ERRORS'):source.index('.Sh SEE ALSO')]
        assert {'EINVAL', 'EPERM'} <= set(re.findall(r'\.It Er (\w+)', errors)), page


def test_every_error_that_the_header_names_is_on_a_page():
    with open(os.path.join(ROOT, 'include/weft/weft.h'), encoding='utf-8') as header:
        named = set(re.findall(r'-(E[A-Z]+)\b', header.read()))
    assert len(named) > 10 and named <= set(re.findall(r'Er (E[A-Z]+)', ' '.join(call_pages().values())))


def test_every_call_has_an_installed_page_of_its_name():
    plan = subprocess.run(['meson', 'introspect', '--installed', os.path.dirname(WEFT)], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    links = subprocess.run(['meson', 'introspect', '--install-plan', os.path.dirname(WEFT)], stdout=subprocess.PIPE, text=True,
                           check=True).stdout
    for name in declared():
        assert f'/man3/{name}.3"' in plan or f'man3/{name}.3' in links, name


def test_the_map_from_libblkio_names_calls_that_there_are():
    with open(os.path.join(ROOT, 'docs/from-libblkio.md'), encoding='utf-8') as text:
        named = set(re.findall(r'\bweft_(?:queue|device|memory|reactor|kind|event|export)_\w+', text.read()))
    structures = {'weft_queue_settings', 'weft_queue_info', 'weft_device_info', 'weft_device_stats'}
    assert len(named) > 20 and named - structures <= set(declared())
