# SPDX-License-Identifier: BSD-2-Clause
"""fio in the guest, writing and verifying for as long as the test wants, while the test does its worst outside."""

from . import process

RESULT = "3;fio-"  # terse output, version 3: the fifth field is the error number
INTERRUPTED = 128  # fio's exit status after SIGINT


class Load:
    """Random writes of 4 to 64 KiB, each read back and compared (crc32c) soon after, until finish() is called."""

    def __init__(self, guest, device="vda", offset="0", size="32M", depth=16, jobs=1):
        self.guest = guest
        self.device = device
        self.job = guest.start(
            f"exec fio --name=verify --filename=/dev/{device} --ioengine=libaio --direct=1 --iodepth={depth} "
            f"--rw=randwrite --bsrange=4k-64k --offset={offset} --size={size} --numjobs={jobs} "
            f"--offset_increment={size} --allow_mounted_write=1 --verify=crc32c --verify_backlog=128 --verify_fatal=1 --time_based "
            "--runtime=3600 --group_reporting --output-format=terse")
        self.wait_progress(1)

    def wait_progress(self, requests=100, limit=process.LIMIT):
        """Return when so many more requests have been completed; raises if fio ends or nothing moves."""
        status, _ = self.guest.try_run(f"progress {self.device} {requests} $(cat /run/pid.{self.job.number})", limit)
        assert status == 0, f"fio gave up:\n{self.words()}\n{self.guest.block_errors()}"

    def words(self):
        """What fio said, without its long line of numbers."""
        return "\n".join(line for line in self.job.output().splitlines() if not line.startswith(RESULT))

    def finish(self):
        """Stop fio and see that it found every block as written and the kernel met no error."""
        self.job.interrupt()
        status = self.guest.job_status(self.job.number, limit=process.LIMIT)
        assert status is not None, "fio does not end: a request is lost"
        words = self.words()
        results = [line for line in self.job.output().splitlines() if line.startswith(RESULT)]
        assert status in (0, INTERRUPTED) and len(results) == 1, f"fio ended with {status}:\n{words}"
        assert results[0].split(";")[4] == "0", f"fio met an error:\n{words}"
        assert "verify:" not in words, words
        assert self.guest.block_errors() == []
