# SPDX-License-Identifier: BSD-2-Clause
"""A client of QEMU's machine protocol (QMP): JSON lines over a connected socket."""

import json
import select
import time

from .process import LIMIT, Expired


class Refused(Exception):
    """QEMU answered a command with an error."""


class Client:
    """Events that arrive while something else is awaited are kept, in order, in self.events."""

    def __init__(self, sock, limit=LIMIT):
        self.sock = sock
        self.limit = limit
        self.rest = b""
        self.events = []
        self._read(lambda message: "QMP" in message, limit)
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        """Execute a command (underscores in argument names stand for hyphens); returns what it returns."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.sock.sendall(json.dumps({"execute": command, "arguments": named}).encode() + b"\n")
        answer = self._read(lambda message: "return" in message or "error" in message, self.limit)
        if "error" in answer:
            raise Refused(f"{command} {named}: {answer['error']['desc']}")
        return answer["return"]

    def wait_event(self, name, limit=LIMIT):
        """-> the data of the next event of that name; those before it are dropped."""
        while self.events:
            event = self.events.pop(0)
            if event["event"] == name:
                return event["data"]
        event = self._read(lambda message: message.get("event") == name, limit)
        self.events.clear()
        return event["data"]

    def _read(self, wanted, limit):
        deadline = time.monotonic() + limit
        while True:
            line, newline, rest = self.rest.partition(b"\n")
            if newline:
                self.rest = rest
                message = json.loads(line)
                if wanted(message):
                    return message
                if "event" in message:
                    self.events.append(message)
                continue
            if not select.select([self.sock], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Expired(f"QMP was silent for {limit} s")
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("QEMU closed its QMP socket")
            self.rest += data
