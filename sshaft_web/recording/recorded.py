"""Connects terminals with their recordings. A terminal says that it is recorded, and may end with its recording."""

from sshaft_web import events
from sshaft_web.configuration import RecordingSettings
from sshaft_web.recording.recorder import Recorder
from sshaft_web.terminals.terminal import Terminal


class Recordings:
    """The recordings of all terminals."""

    def __init__(self, settings: RecordingSettings, recorder: Recorder | None = None) -> None:
        self._required = settings.required
        self._recorder = recorder or Recorder(settings.directory, with_input=settings.input)

    def observe(self, terminal: Terminal) -> "RecordedTerminal":
        """Begins the recording of a new terminal. The person reads of it before everything else."""
        listener = RecordedTerminal(terminal, self._recorder, required=self._required)
        terminal.show(f"{self._recorder.announcement}\r\n")
        return listener

    async def wait_for_all(self) -> None:
        """Waits until the files of terminals that have ended are on the disk."""
        await self._recorder.wait_for_all()


class RecordedTerminal:
    """The listener of one terminal that is recorded."""

    def __init__(self, terminal: Terminal, recorder: Recorder, *, required: bool) -> None:
        self._terminal = terminal
        self._required = required
        title = f"{terminal.target.title} ({terminal.target.host})"
        size = terminal.size
        self._recording = recorder.start(size.columns, size.rows, title, self._failed, terminal.saw)
        terminal.recording, terminal.is_recorded = self._recording.name, True

    @property
    def is_behind(self) -> bool:
        return self._recording.is_behind

    def wrote(self, data: bytes) -> None:
        self._recording.output(data)

    def typed(self, data: bytes) -> None:
        self._recording.input(data)

    def resized(self, columns: int, rows: int) -> None:
        self._recording.resized(columns, rows)

    def closed(self, _reason: str) -> None:
        self._recording.finish()

    def _failed(self, reason: str) -> None:
        terminal = self._terminal
        events.recording_failed(terminal, reason)
        terminal.is_recorded = False
        sentence = f"The recording of this terminal has ended: {reason}."
        if self._required:
            terminal.close("recording_failed", f"{sentence} Tell your administrator.")
        else:
            terminal.show(f"\r\n{sentence}\r\n")
