# SPDX-License-Identifier: BSD-2-Clause
"""A guest whose ring is larger than usual asks for more with one request."""


def test_a_ring_of_1024_entries_takes_requests_of_1022_segments(place):
    place.need(only_weft=True)
    place.image()
    place.serve(export={"queue-size": "1024"})
    guest = place.boot(depth=1024)
    assert guest.run("cat /sys/block/vda/queue/max_segments") == "1022"
    guest.run("echo 4088 > /sys/block/vda/queue/max_sectors_kb")  # a page for each segment
    guest.run("dd if=/dev/urandom of=/tmp/pattern bs=1M count=32 && dd if=/tmp/pattern of=/dev/vda bs=8M oflag=direct")
    guest.run("dd if=/dev/vda bs=8M count=4 iflag=direct | cmp - /tmp/pattern")
    assert guest.block_errors() == []
