"""One process at a time writes a run folder."""

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

from lightning.pytorch.utilities import rank_zero_warn

from lightning_codec.errors import UserError

LOCK = ".lock"


class FolderLock:
    """A lock on a folder, held by this process until `release` or its end, whatever that is.

    A POSIX record lock: it works between the nodes of a shared file system, and processes that are forked to read
    data do not keep it when their parent is killed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: TextIO | None = None

    def acquire(self, wait: bool = False) -> None:
        """Take the lock; a folder without write access, or on a file system without locks, is taken unlocked.

        Args:
            wait: until another process gives it back, rather than refuse.

        Raises:
            UserError: another process has it.
        """
        file = (self.folder / LOCK).open("a+", encoding="utf-8")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                holder = file.read().strip() or "another process"
                file.close()
                raise UserError(
                    f"{self.folder}: {holder} is training this run now; wait for it or stop it, "
                    "or start a run of its own beside it with --resume false"
                ) from error
            rank_zero_warn(f"{self.folder}: the file system has no locks ({error.strerror}): start nothing twice here")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give it back; without a lock nothing happens."""
        if self._file is not None:
            self._file.close()
            self._file = None
