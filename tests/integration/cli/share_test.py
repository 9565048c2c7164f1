# SPDX-License-Identifier: BSD-2-Clause
"""An export that was built elsewhere, and loaded, shares its reactor with the others (examples/export-reader)."""
import os

from command import weft_in
from waiting import BUILD

READER = os.path.join(BUILD, 'tests/reader.so')
SLOTS = 1024  # of a reactor


def in_flight(told):
    return len(told['requests']) + told['not_shown']


def test_a_loaded_export_whose_device_hangs_leaves_its_neighbour_half(serve, folder):
    server = serve('mem:1MiB', 'delay:[mem:64MiB],all=1h', '--on', 'reader:4096', '--load', READER, '--grace', '10ms')
    server.until(lambda told: in_flight(told) >= SLOTS // 2 - 8, 'requests', 'mem1')
    done = weft_in(folder, 'bench', 'vhost-user:vm0.sock', '--depth', '64', '--amount', '16MiB', '--time', '0')
    assert done.status == 0, done.err
    assert in_flight(server.ctl('requests', 'mem1')) <= SLOTS // 2 + 1


def test_a_loaded_export_tells_what_it_has_read(serve):
    server = serve('mem:1MiB', 'mem:64MiB', '--on', 'reader:8', '--load', READER)
    server.until(lambda told: [fact for fact in str(told).split("'")
                               if ' ended, 0 failed, ' in fact and int(fact.split()[0]) > 999], 'info')
