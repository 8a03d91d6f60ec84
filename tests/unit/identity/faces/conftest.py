from service.relying_party import alice, browser, shop  # noqa: F401 - fixtures
