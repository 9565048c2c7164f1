# SPDX-License-Identifier: BSD-2-Clause
"""A server whose device is another server: the memory of its clients goes through both without being copied."""
import json
import os
import re
import subprocess

from initiator_test import VERIFY, bench, weft  # noqa: F401 (fixtures)
from listening import Listening
from waiting import WEFT


def facts(control):
    run = subprocess.run([WEFT, 'ctl', control, 'info', '--json'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                         timeout=60, check=True)
    return json.dumps(json.loads(run.stdout))


def test_one_client_after_another_through_two_servers(weft, folder):  # noqa: F811
    """Each client has memory of its own, often where that of the one before it was."""
    behind = weft('mem:64MiB')
    path, control = os.path.join(folder, 'front.sock'), os.path.join(folder, 'ctl')
    front = Listening([WEFT, 'serve', f'vhost-user:{behind.path}', '--on', f'vhost-user:{path}', '--control', control], path)
    try:
        for _ in range(4):
            bench(front, *VERIFY)
            found = re.search(r'(\d+) in place, (\d+) copied', facts(control))
            in_place, copied = int(found[1]), int(found[2])
        assert in_place > 30 * copied, front.text()
        assert 'refuses' not in front.text()
    finally:
        assert front.stop() == 0, front.text()
