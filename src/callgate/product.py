"""What a program hands over besides its calls: what it prints, the files it leaves, and its end."""

from __future__ import annotations

from callgate.artifacts import Artifact, LeftOut, Names
from callgate.limits import Limits
from callgate.room import most_of, room_of
from callgate.sandboxes.base import MOST_FILES, MOST_LEFT, EndFrame, FileFrame, OutFrame
from callgate.steps import End, end_of

__all__ = ["Product"]


class Product:
    """Takes what a guest sends, within the bounds it was told."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.output: list[str] = []
        """What it printed, up to `Limits.output_kb`."""
        self.printed = 0
        """Characters it printed, also those that are not kept."""
        self.end: End | None = None
        """How the program ended, once it has."""
        self.artifacts: tuple[Artifact, ...] = ()
        """The files it left; none before its end."""
        self.left_out: tuple[LeftOut, ...] = ()
        """The files that are not among them."""
        self._files: list[FileFrame] = []
        self._room = limits.disk_mb << 20

    @property
    def closing(self) -> bool:
        """Whether only files may follow, and the end."""
        return bool(self._files)

    def take(self, frame: OutFrame | FileFrame) -> str | None:
        """Take output or a file. Returns what is wrong with it, if anything is."""
        if isinstance(frame, FileFrame):
            self._room -= len(frame.data)
            self._files.append(frame)
            too_much = self._room < 0 or len(self._files) > MOST_FILES
            return "the guest sent more files than it may" if too_much else None
        room = (self._limits.output_kb << 10) - self.printed
        self.printed += len(frame.text)
        if room <= 0:
            return "the guest sent more output than it may"
        self.output.append(frame.text[:room])
        return None

    def close(self, frame: EndFrame) -> None:
        """Take the end."""
        self.printed = max(self.printed, frame.printed)
        self.end = end_of(frame, self.printed)
        names = Names()
        self.artifacts = tuple(Artifact.of(names.take(one.name), one.data) for one in self._files)
        self._files = []
        left = [LeftOut(name=Names().take(one.name), size=one.size, why=self._why(one.why)) for one in frame.left]
        count, size = frame.more
        if count:
            left.append(LeftOut(name="", size=size, why=f"{MOST_LEFT} are named", count=count))
        self.left_out = tuple(left)

    def _why(self, code: str) -> str:
        frame, disk = self._limits.frame_mb, self._limits.disk_mb
        carried, room = most_of(frame) * 3 / 4 / (1 << 20), room_of(frame) / (1 << 20)
        return {
            "large": f"a file may have about {carried:.3g} MiB with frame_mb={frame}",
            "room": f"all files together may have {disk} MiB, and with all that the program sent what frame_mb={frame} "
            f"leaves: {room:g} MiB of the host's memory",
            "many": f"{MOST_FILES} files are kept",
            "kind": "it is no regular file",
            "unreadable": "it could not be read",
        }[code]
