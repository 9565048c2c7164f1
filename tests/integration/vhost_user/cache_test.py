# SPDX-License-Identifier: BSD-2-Clause
"""A front end switches its write cache off, and the flush that this needs never ends."""
import json
import os
import struct
import subprocess

from frontend import F_CONFIG_WCE, P_CONFIG, P_MQ, P_REPLY_ACK, NEED_REPLY, SET_CONFIG, VERSION
from waiting import BUILD, WEFT, until_told

BROKEN = os.path.join(BUILD, 'tests/broken.so')


def test_a_server_tells_of_it_at_once(serve, client, folder):
    path = os.path.join(folder, 'ctl')
    server = serve('broken:[mem:1MiB],how=mute-flush', arguments=('--load', BROKEN, '--control', path))
    c = client(server, features=F_CONFIG_WCE, protocol=P_MQ | P_REPLY_ACK | P_CONFIG)

    def ctl(*words):
        return json.loads(subprocess.run([WEFT, 'ctl', path, *words, '--json'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         check=True, timeout=60).stdout)

    c.front.send(SET_CONFIG, struct.pack('<III', 32, 1, 0) + b'\0', flags=VERSION | NEED_REPLY)
    until_told(lambda told: any('FLUSH' in one['path'] for one in told['requests']), server.child, path, 'requests')
    assert 'change' not in ctl('info')  # it is the front end's affair
    (device,) = [one for one in ctl('stats')['devices'] if one['name'] == 'broken0']
    assert device['in_flight'] == 1
    change = subprocess.Popen([WEFT, 'ctl', path, 'remove', 'broken'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    told = until_told(lambda told: 'requests' in told.get('change', {}) and told['change'], change, path, 'info')
    assert told['waits_for'] == 'vhost-user0 to come to rest' and told['requests'] == 1
    assert told['oldest'].startswith('FLUSH 0@0 | broken0')
    server.kill()
    change.communicate(timeout=60)
