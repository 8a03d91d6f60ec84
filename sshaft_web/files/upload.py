"""Names one upload: its target, and the hidden file that grows beside the target."""

from dataclasses import dataclass

from sshaft_web.files.names import joined, part_name


@dataclass(frozen=True, slots=True)
class Upload:
    """One file that is being uploaded. `number` is random and chosen by the page; `total` is the size of the file.

    `replace`: whether a file of this name may be replaced.
    """

    folder: bytes
    name: bytes
    number: str
    total: int
    replace: bool

    @property
    def target(self) -> bytes:
        return joined(self.folder, self.name)

    @property
    def part(self) -> bytes:
        return joined(self.folder, part_name(self.name, self.number))
