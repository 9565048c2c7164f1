# SPDX-License-Identifier: BSD-2-Clause
"""Manual pages say what the tables say."""
import glob
import json
import os
import re
import subprocess

import pytest

from command import ROOT, WEFT

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
