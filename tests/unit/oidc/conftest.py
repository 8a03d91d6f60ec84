from unit.identity.conftest import clock, hearing, listening, service, store  # noqa: F401 - fixtures
from unit.sshaft.conftest import authority  # noqa: F401 - a fixture
