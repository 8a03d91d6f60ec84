"""Provides a real sshd, a real ssh and our real programs, as in `e2e`, for the tests of identity providers."""

from e2e.conftest import keys, place, site  # noqa: F401 - fixtures
