"""Names what takes the durations of the agent's calls to other services. `metrics.py` has the real one."""

from collections.abc import Callable

Observe = Callable[[str, float], None]
"""Takes the name of a call and its duration in seconds, in any thread."""


def observe_nothing(_call: str, _seconds: float) -> None:
    """Ignores the durations, in an agent without metrics."""
