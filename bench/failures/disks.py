"""Small file systems for one run: a tmpfs that can be filled, an ext4 image that turns read-only under writers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BALLAST = "ballast"


class NoDisk(Exception):
    """This machine does not let us mount; the message says why."""


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """A tmpfs of that size. Raises NoDisk."""
    place = folder / "disk"
    place.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place))
    try:
        yield place
    finally:
        _unmount(place)


def fill(place: Path) -> None:
    """Leave no byte free."""
    with (place / BALLAST).open("ab", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            block = b"x" * size
            try:
                while ballast.write(block) == size:
                    pass
            except OSError:
                continue


def free(place: Path) -> None:
    (place / BALLAST).unlink(missing_ok=True)


class Image:
    """An ext4 file system in a file. ``mount`` comes first."""

    def __init__(self, folder: Path, size_mb: int) -> None:
        self.place = folder / "disk"
        self._file = folder / "disk.img"
        self.place.mkdir(exist_ok=True)
        with self._file.open("wb") as file:
            file.truncate(size_mb << 20)
        _run("mkfs.ext4", "-q", "-F", str(self._file))

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self._file), str(self.place))

    def make_read_only(self) -> None:
        """What the kernel does after an error of the disk: read-only at once, whoever has files open for writing."""
        _run("mount", "-o", "remount,abort", str(self.place))

    def repair(self) -> None:
        """Unmount, check and mount again; nobody may use it meanwhile."""
        _unmount(self.place)
        subprocess.run(["fsck.ext4", "-p", "-f", str(self._file)], capture_output=True, check=False)
        self.mount()

    def close(self) -> None:
        if os.path.ismount(self.place):
            _unmount(self.place)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoDisk(f"{command[0]}: {error}") from error
    if done.returncode:
        raise NoDisk(f"{' '.join(command[:4])}: {done.stderr.strip() or done.returncode}")


def _unmount(place: Path) -> None:
    if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
