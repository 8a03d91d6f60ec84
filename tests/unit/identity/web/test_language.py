"""Tests in which language a page answers."""

from service.service import Service

GERMAN = {"Accept-Language": "de-DE,de;q=0.9", "Accept": "text/html"}


def shown(service: Service, path: str = "/nothing", **headers: str) -> str:
    return service.call("GET", path, headers=headers | {"Accept": "text/html"}).text


def test_page_has_the_language_of_the_browser(service: Service) -> None:
    assert '<html lang="de" dir="ltr">' in shown(service, **GERMAN)
    assert "Diese Seite gibt es nicht." in shown(service, **GERMAN)
    assert '<html lang="en" dir="ltr">' in shown(service)


def test_ui_locales_names_the_language_and_the_browser_keeps_it(service: Service) -> None:
    assert '<html lang="de"' in shown(service, "/nothing?ui_locales=xx+de+en")
    assert service.session.cookies["__Host-sshaft-language"] == "de"
    service.session.cookies.clear()
    answer = service.call("GET", "/nothing?ui_locales=de", headers={"Accept": "text/html"})
    kept = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
    assert '<html lang="de"' in shown(service, **kept)
    assert '<html lang="en"' in shown(service, "/nothing?ui_locales=en", **kept)


def test_odd_values_are_left_out(service: Service) -> None:
    for value in ("xx", "", "%00", "%FF%FE", "../../etc/passwd", "d" * 5000):
        answer = service.call("GET", f"/nothing?ui_locales={value}", headers={"Accept": "text/html"})
        assert ('<html lang="en"' in answer.text, answer.headers.get("Set-Cookie")) == (True, None)
    assert '<html lang="en"' in shown(service, Cookie="__Host-sshaft-language=<script>")


def test_page_links_to_itself_in_the_other_languages(service: Service) -> None:
    assert '<a href="?ui_locales=de" lang="de">Deutsch</a>' in shown(service)
    assert ">English</a>" in shown(service, **GERMAN)


def test_link_to_another_language_keeps_the_parameters_of_the_page(service: Service) -> None:
    page = shown(service, "/?note=again&ui_locales=en&x=%22%3E%3Cscript%3E")
    assert '<a href="?note=again&amp;x=%22%3E%3Cscript%3E&amp;ui_locales=de"' in page
    assert '<a href="?ui_locales=de"' in shown(service, "/nothing?code=secret"), "an error page does not repeat them"
