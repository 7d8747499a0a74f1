"""One process at a time writes a folder."""

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path
from typing import ClassVar, TextIO

from lightning_codec.errors import UserError

LOCK = ".lock"
HOLDER = "{holder}"

logger = logging.getLogger(__name__)


class FolderLock:
    """A lock on a folder, held by this process until `release` or its end, whatever that is.

    A POSIX record lock: it works between the nodes of a shared file system, and processes that are forked to read
    data do not keep it when their parent is killed.

    Args:
        folder: it must exist.
    """

    # A record lock does not keep a process from taking it twice.
    _taken: ClassVar[set[Path]] = set()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: TextIO | None = None

    def acquire(self, refusal: str | None) -> None:
        """Take the lock; on a file system without locks nothing is locked.

        Args:
            refusal: what is said if it is taken, where `HOLDER` stands for the process that has it; None: wait until
                another process gives it back.

        Raises:
            UserError: it is taken.
            OSError: the folder cannot be written.
        """
        if refusal is not None and self.folder.resolve() in self._taken:
            raise UserError(refusal.replace(HOLDER, "this process"))
        file = (self.folder / LOCK).open("a+", encoding="utf-8")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if refusal is None else fcntl.LOCK_NB))
        except OSError as error:
            if refusal is not None and error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                holder = file.read().strip() or "another process"
                file.close()
                raise UserError(refusal.replace(HOLDER, holder)) from error
            logger.warning("%s: the file system has no locks (%s): start nothing twice here", self.folder, error)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self._file = file
        self._taken.add(self.folder.resolve())

    def release(self) -> None:
        """Give it back; without a lock nothing happens."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._taken.discard(self.folder.resolve())
