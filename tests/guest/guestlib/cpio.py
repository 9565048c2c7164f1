# SPDX-License-Identifier: BSD-2-Clause
"""Writes the archive format that Linux unpacks as its first file system (cpio, "newc")."""

import os
import stat

TRAILER = "TRAILER!!!"


class Archive:
    """An uncompressed newc archive that grows entry by entry; folders are made as needed."""

    def __init__(self, out):
        self.out = out
        self.names = set()

    def folder(self, path):
        path = path.strip("/")
        if path and path not in self.names:
            self.folder(os.path.dirname(path))
            self._entry(path, stat.S_IFDIR | 0o755, b"")

    def file(self, path, data, mode=0o644):
        self.folder(os.path.dirname(path))
        self._entry(path.strip("/"), stat.S_IFREG | mode, data)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self._entry(path.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def close(self):
        self._entry(TRAILER, 0, b"")

    def has(self, path):
        return path.strip("/") in self.names

    def _entry(self, name, mode, data):
        if name in self.names:
            raise ValueError(f"{name} is in the archive already")
        self.names.add(name)
        encoded = name.encode() + b"\0"
        serial = 0 if name == TRAILER else len(self.names)
        links = 2 if stat.S_ISDIR(mode) else 1
        # inode, mode, uid, gid, links, mtime, size, device (2), special device (2), length of name, checksum
        numbers = (serial, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % n for n in numbers) + encoded
        self.out.write(header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4))
