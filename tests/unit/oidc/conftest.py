from unit.identity.conftest import clock, hearing, listening, service, store  # noqa: F401 - fixtures
