"""Logs a person in to this host: a page at the OpenID Provider, a code, and the account of the identity."""

import asyncio
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sshaft import log, messages
from sshaft.addresses import source_of
from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.text import printable
from sshaft_agent.host_login import accounts, texts
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.bindings import Bindings, BindingsError
from sshaft_agent.host_login.conversation import Conversation, GoneError, LoginQuestion
from sshaft_agent.host_login.operator import Operator
from sshaft_agent.host_login.settings import HostLoginSettings
from sshaft_oidc.device_grant import DeviceCode, DeviceGrant, DeviceGrantError
from sshaft_oidc.provider import Provider, Tokens
from sshaft_oidc.remote_keys import OpenIdError

_WORKERS = 16
_REQUEST_SECONDS = 10.0
_FIRST_MESSAGE_SECONDS = 3.0
_GRACE_SECONDS = 10.0
"""The person may press Enter a little before the provider tells us of the approval."""
_MAX_PROMPTS = 6


class _RefusedError(Exception):
    """The login ends without success. The reason and the subject are for the log; the person reads one of `texts`."""

    def __init__(self, reason: str, text: str = texts.REFUSED, *, subject: str | None = None) -> None:
        super().__init__(reason)
        self.text = text
        self.subject = subject


class HostLogin:
    """Host login at one OpenID Provider. Runs on the event loop; HTTP and look-ups of accounts run in threads."""

    def __init__(
        self,
        settings: HostLoginSettings,
        host_name: str | None = None,
        find_account: Callable[[str], Account | None] = accounts.find,
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._find_account = find_account
        self._bindings = Bindings(settings.state_directory)
        self.operator = Operator(lambda: self.settings, self._bindings, find_account)
        self._host_name = host_name or socket.gethostname()
        self._pending: Counter[str] = Counter()
        self._workers = ThreadPoolExecutor(_WORKERS, "host-login")
        self.replace_settings(settings)

    def replace_settings(self, settings: HostLoginSettings) -> None:
        """Uses a configuration that was read again, for logins that begin from now on. Raises `ConfigurationError`."""
        http = settings.http_client("provider")
        provider = Provider(settings.issuer, settings.credentials(), http, lambda: datetime.now(UTC))
        self._grant = DeviceGrant(provider, settings.scopes)
        self.settings = settings

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    def status(self) -> dict[str, Any]:
        """Returns the facts of `sshaft agent status`."""
        waiting = sum(count for name, count in self._pending.items() if name.startswith("source "))
        return {"host_logins_waiting": waiting, "host_logins_accepted": self.outcomes["accepted"]}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection of pam_sshaft. Raises `MessageError` for a message that does not belong there."""
        async with asyncio.timeout(_FIRST_MESSAGE_SECONDS):
            kind, fields = messages.decode(await reader.readuntil(messages.END))
        if kind not in ("login", "account"):
            raise messages.MessageError(f"{kind} is not asked here")
        question, conversation = LoginQuestion.of(fields), Conversation(reader, writer)
        try:
            if kind == "account":
                await conversation.result("ignore")
            else:
                await self._log_in(question, conversation)
        except GoneError as gone:
            self.outcomes["gone"] += 1
            log.get_logger().info("host_login.gone", user=printable(question.user), reason=str(gone))
        except Exception:  # noqa: BLE001 - one broken login must not end the agent
            self.outcomes["fault"] += 1
            log.get_logger().exception("agent.fault")
            await conversation.result("unavailable", "a fault of the agent: see its log")

    async def _log_in(self, question: LoginQuestion, conversation: Conversation) -> None:
        """Runs the login and ends the conversation with its result."""
        reference = secrets.token_hex(4)
        logger = log.get_logger().bind(
            reference=reference, user=printable(question.user), client_ip=printable(question.client_ip)
        )
        try:
            with self._counted(question):
                subject = await self._approve(question, conversation, logger)
        except _RefusedError as refused:
            self.outcomes["refused"] += 1
            facts = {} if refused.subject is None else {"subject": printable(refused.subject)}
            logger.warning("host_login.refused", reason=str(refused), **facts)
            await conversation.prompt(refused.text.format(reference=reference), echo=False)
            await conversation.result("denied", f"refused, reference {reference}")
        except (RemoteServiceError, OpenIdError, BindingsError) as error:
            self.outcomes["unavailable"] += 1
            logger.error("host_login.failed", message=str(error))  # noqa: TRY400 - it is no fault of the agent
            await conversation.prompt(texts.UNAVAILABLE.format(reference=reference), echo=False)
            await conversation.result("unavailable", f"{error.code}, reference {reference}")
        else:
            self.outcomes["accepted"] += 1
            logger.info("host_login.accepted", subject=printable(subject))
            await conversation.result("success")

    @contextmanager
    def _counted(self, question: LoginQuestion) -> Iterator[None]:
        """Counts a login that waits. Raises `_RefusedError` if too many wait from this source, for this name or at all.

        Nothing is counted for a name alone: a stranger elsewhere could then keep its owner out.
        """
        source = source_of(question.client_ip)
        limits = {
            f"user {question.user} from {source}": self.settings.pending_per_user,
            f"source {source}": self.settings.pending_per_source,
        }
        for name, limit in limits.items():
            if self._pending[name] >= limit:
                raise _RefusedError(f"{self._pending[name]} logins wait already: {printable(name)}", texts.TOO_MANY)
        self._pending.update(limits.keys())
        try:
            yield
        finally:
            self._pending.subtract(limits.keys())
            self._pending += Counter()  # forgets what is 0

    async def _approve(self, question: LoginQuestion, conversation: Conversation, logger: Any) -> str:
        """Returns the subject who approved this login and owns the account. Raises `_RefusedError`."""
        settings, grant = self.settings, self._grant
        account = await conversation.keep_waiting(self._in_thread(self._find_account, question.user))
        ends_at = time.monotonic() + min(question.timeout - 5, settings.login_seconds)
        code = await conversation.keep_waiting(self._in_thread(grant.begin, Deadline.after(_REQUEST_SECONDS)))
        ends_at = min(ends_at, time.monotonic() + code.expires_in)
        logger.info("host_login.waits", code_seconds=round(code.expires_in))
        polling = asyncio.create_task(self._poll(grant, code, ends_at))
        try:
            tokens = await self._wait_for_approval(question, conversation, code, polling)
            return await conversation.keep_waiting(
                self._in_thread(self._identify, grant.provider, settings, account, tokens)
            )
        finally:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    async def _wait_for_approval(
        self, question: LoginQuestion, conversation: Conversation, code: DeviceCode, polling: "asyncio.Task[Tokens]"
    ) -> Tokens:
        """Shows the page and the code until the person has approved and, unless `enter` is never, pressed Enter."""
        settings, messages = self.settings, self.settings.messages
        who = texts.login_line(self._host_name, question.user, question.client_ip)
        qr = texts.qr_code(texts.address_of(code), settings.qr, settings.qr_error_correction)
        text = texts.page_and_code(code, who, messages, has_qr=bool(qr))
        if settings.enter == "never":
            await conversation.info(text)
            await conversation.info(qr + texts.CLOSE)  # apart: an old ssh cuts what has other characters than ASCII
            await conversation.keep_waiting(asyncio.wait({polling}))
            return polling.result()
        text += qr + texts.CLOSE + messages.prompt_enter
        for _ in range(_MAX_PROMPTS):
            await conversation.prompt(text)
            await conversation.keep_waiting(asyncio.wait({polling}, timeout=_GRACE_SECONDS))
            if polling.done():
                return polling.result()
            text = texts.not_approved_yet(code, messages)
        raise _RefusedError("Enter was pressed too often before the approval")

    async def _poll(self, grant: DeviceGrant, code: DeviceCode, ends_at: float) -> Tokens:
        """Returns the tokens when the person has approved. Raises `_RefusedError`."""
        while time.monotonic() + code.interval < ends_at:
            await asyncio.sleep(code.interval)
            try:
                tokens: Tokens | None = await self._in_thread(grant.poll, code, Deadline.after(_REQUEST_SECONDS))
            except DeviceGrantError as error:
                raise _RefusedError(str(error), texts.OF_ERROR.get(error.error, texts.UNAVAILABLE)) from None
            if tokens is not None:
                return tokens
        raise _RefusedError("nobody approved in time", texts.EXPIRED)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._workers, function, *arguments)

    def _identify(
        self, provider: Provider, settings: HostLoginSettings, account: Account | None, tokens: Tokens
    ) -> str:
        """Returns the subject of the tokens, who owns the account and may use it. Raises `_RefusedError`.

        It comes after the approval, also for a name that nobody has: a stranger must not learn which accounts exist.
        """
        deadline = Deadline.after(_REQUEST_SECONDS)
        claims, in_token = provider.verify_id_token(tokens.id_token, deadline)
        wanted = accounts.wanted(settings)
        all_claims = provider.add_userinfo(wanted, in_token, tokens.access_token, deadline)
        self._workers.submit(_revoke, provider, tokens.access_token)  # nothing needs it from here on
        for check in accounts.checks(account, settings, all_claims):
            if not check.passed:
                raise _RefusedError(f"{check.rule}: {check.detail}", subject=claims.sub)
        assert account is not None  # noqa: S101 - the first check
        if not self._bindings.bind(account.name, claims.iss, claims.sub, datetime.now(UTC)):
            raise _RefusedError("the account belongs to another identity", subject=claims.sub)
        return claims.sub


def _revoke(provider: Provider, access_token: str | None) -> None:
    """Ends the access token at the provider. A failure is logged; the token ends by itself in time."""
    try:
        if access_token is not None:
            provider.revoke(access_token, Deadline.after(_REQUEST_SECONDS))
    except (RemoteServiceError, OpenIdError) as error:
        log.get_logger().warning("host_login.token_not_revoked", message=str(error))
