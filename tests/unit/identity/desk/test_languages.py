"""Tests that the help desk speaks the language of its member, and that the audit log stays as it is."""

from service.browser import Browser, heading
from service.service import Service
from unit.identity.desk.test_access import lock, order

GERMAN = {"Accept-Language": "de-DE,de;q=0.9"}


def test_pages_of_the_help_desk_are_in_german(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    lock(service, "alice", keys["alice"])
    service.open("alice", app="Webmail")
    for path, texts in {
        "/desk": ("Person suchen", "Jetzt gesperrt"),
        "/desk?q=al&note=confirm": ("1 Schlüssel, nie benutzt", "Dafür müssen Sie sich neu mit ssh anmelden."),
        "/desk/people/alice?note=unlocked": (
            "Warum Anmeldungen scheiterten",
            "Der Code war falsch.",
            "Zu viele falsche Codes: Bis ",
            "Eine Anmeldung bei Webmail",
            "durch die Administration",
            "Die falschen Codes zählen nicht mehr.",
        ),
        "/desk/waiting": ("Anmeldungen, die auf ssh warten", "<dt>Anwendung</dt><dd>Webmail</dd>"),
        "/desk/clients": ("Darf nutzen", "begann eine Anmeldung (Webmail)"),
    }.items():
        page = carol.get(path, headers=GERMAN)
        assert '<html lang="de"' in page.text, path
        assert len(page.content) < 24_000, path
        for text in texts:
            assert text in page.text, (path, text)


def test_questions_and_refusals_of_the_help_desk_are_in_german(carol: Browser) -> None:
    spoken = carol.get("/desk/people/alice?ui_locales=de")
    assert heading(spoken) == "alice"
    assert carol.cookies["__Host-sshaft-language"] == "de"
    assert heading(order(carol, "remove-all-keys", sure="")) == "Alle Schlüssel entfernen?"
    assert heading(order(carol, "remove-key", fingerprint="SHA256:x")) == "Kein solcher Schlüssel"
    assert heading(order(carol, "sign-out", "nobody")) == "Keine solche Person"
    assert heading(order(carol, "sign-out", "carol")) == "Nicht für Sie selbst"
