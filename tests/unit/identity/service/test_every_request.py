"""Tests what holds for every request, whatever its path is."""

import socket
from urllib.parse import urlsplit

import pytest
from service.service import Service


@pytest.mark.parametrize("path", ["/oauth2/token", "/api/v1/challenges", "/sign-in/ssh", "/oauth2/authorize"])
def test_client_that_goes_away_is_no_failure(service: Service, path: str) -> None:
    """ "Unproven" behind finding S22: a body that was cut off was logged as `request.failed`, an error."""
    url = urlsplit(service.url)
    assert url.hostname
    assert url.port
    head = f"POST {path} HTTP/1.1\r\nHost: {url.netloc}\r\nOrigin: https://id.example.org\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    for part in (b"", b"grant_type="):
        with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
            connection.sendall(head.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100"), "the service reads the body"
            connection.sendall(part)
    assert service.call("GET", "/healthz").status_code == 200
    assert service.events("request.failed") == []
