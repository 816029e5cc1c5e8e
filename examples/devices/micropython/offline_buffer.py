"""Lines in two files of the flash, oldest first, until they are done with.

The older file is given up when the newer one is full. A line that was done with when the power went may come again.
"""

import os


class OfflineBuffer:
    def __init__(self, folder=".", most_bytes=100_000):
        self.older, self.newer = folder + "/readings.0", folder + "/readings.1"
        self.done = folder + "/readings.done"  # bytes of the oldest file that are done with
        self.most_bytes = most_bytes  # of each file

    def keep(self, line):
        if _size(self.newer) > self.most_bytes:
            if _size(self.older):
                _remove(self.older)
                _remove(self.done)
            os.rename(self.newer, self.older)
        with open(self.newer, "a") as file:
            file.write(line + "\n")

    def lines(self):
        """Each line that waits. The one before is done with when the next is asked for, or at the end."""
        while True:
            oldest = self.older if _size(self.older) else self.newer
            at, end = self._done(), _size(oldest)
            if at >= end:
                _remove(oldest)
                _remove(self.done)
                if oldest == self.newer:
                    return
                continue
            with open(oldest, "rb") as file:
                file.seek(at)
                line = file.readline()
            if line.endswith(b"\n"):  # not cut off by a loss of power
                yield line[:-1].decode()
            with open(self.done, "w") as file:
                file.write(str(at + len(line)))

    def _done(self):
        try:
            with open(self.done) as file:
                return int(file.read() or 0)
        except (OSError, ValueError):
            return 0


def _size(path):
    try:
        return os.stat(path)[6]
    except OSError:
        return 0


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass
