"""Takes e-mails on loopback in place of a mail server."""

import contextlib
import socketserver
import ssl
import threading
import time
from typing import Any, Self


class SmtpServer:
    """`mails` has what came: the envelope and the text.

    With `context` it offers STARTTLS. `answers` replaces the answer to a command (`MAIL`) or to the beginning (empty);
    None: it answers nothing.
    """

    def __init__(self, context: ssl.SSLContext | None = None, answers: dict[str, str | None] | None = None) -> None:
        self.mails: list[tuple[str, str, str]] = []
        self.commands: list[str] = []
        self.sessions = 0
        self.context = context
        self.answers = answers or {}
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        server = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                session = _Session(server, self.request)
                with contextlib.suppress(OSError):  # the other side went away, or trusts no certificate
                    session.run()
                session.connection.close()

        return Handler


class _Session:
    def __init__(self, server: SmtpServer, connection: Any) -> None:
        self.server = server
        self.connection = connection
        self.sender = self.recipient = ""

    def run(self) -> None:
        self.server.sessions += 1
        self.say("", "220 mail ESMTP")
        file = self.connection.makefile("rb")
        while line := file.readline():
            command, _, rest = line.decode().strip().partition(" ")
            self.server.commands.append(command.upper())
            if command == "mail":
                self.sender = rest
            elif command == "rcpt":
                self.recipient = rest
            if not self.say(command.upper(), self.answer(command.upper())):
                continue
            if command == "STARTTLS" and self.server.context:
                self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
                file = self.connection.makefile("rb")
            elif command == "data":
                text = b"".join(iter(file.readline, b".\r\n")).decode()
                self.server.mails.append((self.sender, self.recipient, text))
                self.say("", "250 taken")

    def answer(self, command: str) -> str:
        can_encrypt = self.server.context is not None and not isinstance(self.connection, ssl.SSLSocket)
        known = {"DATA": "354 go on", "QUIT": "221 bye"}
        known["EHLO"] = "250-mail\r\n250-STARTTLS\r\n250 8BITMIME" if can_encrypt else "250-mail\r\n250 8BITMIME"
        known["STARTTLS"] = "220 go" if can_encrypt else "502 unknown"
        return known.get(command, "250 ok")

    def say(self, command: str, answer: str) -> bool:
        """Sends the answer, or what `answers` has in its place. Returns whether it was the usual answer."""
        said = self.server.answers.get(command, answer)
        if said is None:
            time.sleep(60)
            return False
        self.connection.sendall(f"{said}\r\n".encode())
        return said == answer
