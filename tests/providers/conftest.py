"""A real sshd, a real ssh and the real programs, as in `e2e`; beside them the identity providers that use us."""

from e2e.conftest import keys, place, site  # noqa: F401 - fixtures
