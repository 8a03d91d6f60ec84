"""Logs a person in to this host: a page at the OpenID Provider, a code, and the account of the identity."""

import asyncio
import secrets
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sshaft import log, messages
from sshaft.errors import ConfigurationError, RemoteServiceError
from sshaft.text import printable
from sshaft_agent.host_login import accounts, places, texts
from sshaft_agent.host_login.account_phase import AccountPhase
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.approval.method import ApprovalMethod
from sshaft_agent.host_login.approval.realm import ApprovalRealm
from sshaft_agent.host_login.bindings import Bindings, is_bound_to
from sshaft_agent.host_login.conversation import Conversation, GoneError, LoginQuestion, Result
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.device_login import DeviceLogin
from sshaft_agent.host_login.first_login import free
from sshaft_agent.host_login.first_login.accounts_client import AccountsError
from sshaft_agent.host_login.first_login.approvals import Approvals
from sshaft_agent.host_login.first_login.first_login import FirstLogin, Login, uptime
from sshaft_agent.host_login.first_login.notify import Notifier
from sshaft_agent.host_login.first_login.operator import RequestsOperator
from sshaft_agent.host_login.first_login.reservations import Reservations
from sshaft_agent.host_login.life_cycle.life_cycle import LifeCycle
from sshaft_agent.host_login.life_cycle.operator import AccountsOperator
from sshaft_agent.host_login.life_cycle.records import Records
from sshaft_agent.host_login.operator import Operator
from sshaft_agent.host_login.periodic import Periodic
from sshaft_agent.host_login.realm import AwayError, Decider, Realm, RefusedError
from sshaft_agent.host_login.realms import NamedRealms
from sshaft_agent.host_login.recheck.recheck import Recheck
from sshaft_agent.host_login.recheck.rounds import Rounds
from sshaft_agent.host_login.remembered.entries import Entry, machine_id, origin_of
from sshaft_agent.host_login.remembered.operator import RememberedOperator
from sshaft_agent.host_login.remembered.remembered import Remembered
from sshaft_agent.host_login.remembered.reports import Reports
from sshaft_agent.host_login.remembered.sending import sender
from sshaft_agent.host_login.roles.granted import rights_of
from sshaft_agent.host_login.roles.role_groups import Membership, RoleGroups, membership
from sshaft_agent.host_login.sessions.sessions import SOCKET, SessionQuestion, Sessions, answered
from sshaft_agent.host_login.sessions.sessions import Login as SessionLogin
from sshaft_agent.host_login.settings import HostSettings, Method
from sshaft_agent.host_login.sshd import Sshd
from sshaft_agent.host_login.threads import Threads
from sshaft_agent.host_login.token_login import prompt
from sshaft_agent.host_login.token_login.api import Api
from sshaft_agent.host_login.token_login.deciders import Deciders
from sshaft_agent.host_login.token_login.one_time_passwords import OneTimePasswords
from sshaft_agent.host_login.token_login.persons import Persons
from sshaft_agent.host_login.token_login.realms import TokenRealms
from sshaft_agent.host_login.token_login.standing import Standings
from sshaft_agent.host_login.waiting import StoppingError, Waiting
from sshaft_agent.observe import Observe, observe_nothing
from sshaft_oidc.access_tokens import AccessTokenError, is_cut
from sshaft_oidc.identity import Identity
from sshaft_oidc.provider import Tokens
from sshaft_oidc.remote_keys import OpenIdError

OUTCOMES = ("accepted", "refused", "unavailable", "gone", "fault")
"""How logins end. `gone`: the person has left. `fault`: the agent has made a mistake."""
_FIRST_MESSAGE_SECONDS = 3.0
_READING_SECONDS = 60.0
"""A person has this time to read why a login ended."""


_Approve = Callable[[LoginQuestion, Conversation, Any], Awaitable[str]]
"""Returns the subject who approved a login and owns the account. It raises `AwayError` before its page is shown."""


class HostLogin:
    """Host login at OpenID Providers. Runs on the event loop; HTTP and look-ups of accounts run in threads."""

    def __init__(
        self,
        settings: HostSettings,
        host_name: str | None = None,
        find_account: Callable[[str], Account | None] = accounts.find,
        observe: Observe = observe_nothing,
        sshd: Sshd | None = None,
        now: Callable[[], float] = time.time,
        find_groups: Membership = membership,
    ) -> None:
        """`now` is in seconds since 1970."""
        self._now = now
        self.waiting = Waiting()
        self.outcomes: Counter[str] = Counter()
        self._threads, self._service_threads = Threads(observe), Threads(observe)
        self._sshd = sshd or Sshd()
        self._bindings = Bindings(settings.state_directory)
        reservations = Reservations(settings.state_directory, free.is_free_uid)
        self.life_cycle = LifeCycle(Records(settings.state_directory), settings.create, now)
        approvals = Approvals(settings.state_directory, self._bindings)
        self.first_login = FirstLogin(reservations, settings.create, self.life_cycle, approvals, find_account, now)
        self._role_groups = RoleGroups(self.life_cycle, find_groups)
        self.recheck = Recheck(self._bindings, now)
        accounts_operator = AccountsOperator(
            self.life_cycle, self._bindings, reservations, self.first_login.is_there, now, self.recheck.all
        )
        self.remembered = Remembered(
            self._bindings, self._closed_to_tokens, self._refusal_of, lambda: self.periodic.wake(self.reports.work), now
        )  # fmt: skip
        self.sessions = Sessions(
            self._bindings, self._accounts_socket, lambda: self.periodic.wake(self.reports.work), now
        )
        self.reports = Reports(self.remembered, self.sessions)
        more = accounts_operator.answers() | RequestsOperator(approvals, now).answers()
        more |= RememberedOperator(self.remembered, self.reports.is_confirmed).answers()
        self.operator = Operator(self._deciders, self._bindings, self.first_login.candidate, self._stays_closed, more)
        self._host_name = host_name or socket.gethostname()
        self.rounds = Rounds(
            self.recheck, lambda: self._realm, find_account, self.life_cycle, observe, self._apply_roles
        )
        self._notifier = Notifier(approvals, lambda: self.first_login.settings, self._host_name, now)
        self.account_phase = AccountPhase(
            self._bindings, self.first_login.is_ready, self.recheck.refusal, self._closed, self._logged_in
        )
        standings = Standings(self.first_login.candidate, self._bindings, approvals, self._closed_to_tokens, now)
        self._persons = Persons(
            standings, self.first_login.is_there, self.first_login.reserve, self._deploy, self.life_cycle,
            self._bindings,
        )  # fmt: skip
        self._passwords = OneTimePasswords()
        self.api = Api(lambda: self._settings, lambda: self.token_realms, self._passwords, standings, self._persons)
        self._approvals = ApprovalMethod(
            self._threads, self._service_threads, self.waiting, self._bindings, self._host_name,
            self._decide_approved, self.remembered.seconds_for,
        )  # fmt: skip
        self.periodic = Periodic(self.life_cycle.work, self.rounds.work, self._notifier.work, self.reports.work)
        self.replace_settings(settings)

    def replace_settings(self, settings: HostSettings) -> None:
        """Uses a configuration that was read again, for logins that begin from now on. Raises `ConfigurationError`."""
        if settings.state_directory != self._bindings.path.parent:
            raise ConfigurationError("host_login.state_directory has changed: restart the agent")
        realm = None if settings.device is None else Realm(settings.device)
        others = [each.issuer for each in (settings.device, *settings.token_providers) if each is not None]
        approval_realm = None if settings.approver is None else ApprovalRealm(settings.approver, others)
        token_realms = TokenRealms(settings.token_providers)
        self.recheck.use(settings.recheck)
        self._realm, self._settings, self.token_realms = realm, settings, token_realms
        self._approval_realm = approval_realm
        self._use_reports()
        self.first_login.settings = self.life_cycle.settings = settings.create
        self._named = NamedRealms()

    def _use_reports(self) -> None:
        """Remembers and reports by the settings in use. What belongs to another identity service counts no more."""
        realm = self._approval_realm
        if realm is None:
            self.remembered.use("", None, without_key=False)
            self.reports.use(None, 0)
            self.sessions.is_on = False
            return
        approval = realm.settings
        origin = origin_of(self._host_name, machine_id(), *realm.origin)
        self.remembered.use(origin, approval.remember, without_key=approval.remember_without_key)
        self.reports.use(sender(realm.service.report, self._host_name, self._now), approval.offline_seconds)
        self.sessions.is_on = True
        self.periodic.wake(self.reports.work)

    def _accounts_socket(self) -> Path:
        return SOCKET if self._settings.create is None else self._settings.create.socket

    def _deciders(self) -> Deciders:
        return Deciders(self._realm, self._approval_realm, self.token_realms)

    def stop(self) -> None:
        """Ends the logins that wait for a person, now and from now on. A decision that has begun is finished."""
        self._notifier.stop()
        self.waiting.stop()
        self.rounds.stop()

    def close(self) -> None:
        self._threads.close()
        self._service_threads.close()
        self.first_login.close()
        self.account_phase.close()
        self.sessions.close()
        self.api.close()
        self._notifier.close()
        self.periodic.close()

    def status(self) -> dict[str, Any]:
        """Returns the facts of `sshaft agent status`."""
        ends = {f"host_logins_{outcome}": count for outcome, count in self.ends().items()}
        accounts_refused = self.account_phase.outcomes["refused"]
        names = {f"host_names_{answer}": self.first_login.names[answer] for answer in ("reserved", "full")}
        rechecks = {f"host_rechecks_{result}": count for result, count in self.rounds.counts().items()}
        accounts = {"host_accounts_refused": accounts_refused}
        api = {f"host_api_{outcome}": count for outcome, count in self.api.counts().items()}
        reports = {f"host_reports_{outcome}": count for outcome, count in self.reports.outcomes.items()}
        remembered = {"host_remembered": self.reports.remembered_count}
        waiting = {"host_logins_waiting": self.waiting.count}
        return waiting | ends | accounts | names | rechecks | api | reports | remembered

    def ends(self) -> dict[str, int]:
        """Returns how many logins have ended in each way."""
        return dict.fromkeys(OUTCOMES, 0) | dict(self.outcomes)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection of pam_sshaft. Raises `MessageError` for a message that does not belong there."""
        async with asyncio.timeout(_FIRST_MESSAGE_SECONDS):
            kind, fields = messages.decode(await reader.readuntil(messages.END))
        if kind not in ("login", "account", "session_open", "session_close"):
            raise messages.MessageError(f"{kind} is not asked here")
        question = LoginQuestion.of(fields)
        conversation = Conversation(reader, writer, question.timeout)
        try:
            if kind in ("session_open", "session_close"):
                work = partial(answered, self.sessions, kind, SessionQuestion.of(fields))
                await asyncio.get_running_loop().run_in_executor(self.sessions.worker, work)
                await conversation.result("success")
            elif kind == "account":
                await self.account_phase.answer(question, conversation, *_new_reference(question))
            else:
                await self._log_in(question, conversation)
            if conversation.after is not None:
                await conversation.after
        except GoneError as gone:
            log.get_logger().info("host_login.gone", reason=str(gone), **question.facts())
        except Exception:  # noqa: BLE001 - one broken login must not end the agent
            self.outcomes["fault"] += 1
            log.get_logger().exception("agent.fault")
            with suppress(GoneError):
                await conversation.result("unavailable", "a fault of the agent: see its log")

    async def _log_in(self, question: LoginQuestion, conversation: Conversation) -> None:
        """Runs the login and ends the conversation with its result."""
        reference, logger = _new_reference(question)
        try:
            subject = await self._approve(question, conversation, logger)
        except GoneError:
            self.outcomes["gone"] += 1
            raise
        except RefusedError as refused:
            self.outcomes["refused"] += 1
            facts = {} if refused.subject is None else {"subject": printable(refused.subject)}
            logger.warning("host_login.refused", reason=str(refused), **conversation.facts(), **facts)
            await self._tell(conversation, refused.text.format(reference=reference))
            await self._end(conversation, "denied", f"refused, reference {reference}")
        except (RemoteServiceError, OpenIdError, DatabaseError, ConfigurationError, AccountsError) as error:
            self.outcomes["unavailable"] += 1
            # It is no fault of the agent.
            logger.error("host_login.failed", message=str(error), **conversation.facts())  # noqa: TRY400
            text = texts.NOT_MADE if isinstance(error, AccountsError) else texts.UNAVAILABLE
            await self._tell(conversation, text.format(reference=reference))
            await self._end(conversation, "unavailable", f"{error.code}, reference {reference}")
        except StoppingError:
            self.outcomes["unavailable"] += 1
            logger.info("host_login.ended", reason="the agent stops")
            await conversation.info(texts.RESTARTS)
            await conversation.result("unavailable", "the agent stops")
        else:
            self.outcomes["accepted"] += 1
            logger.info("host_login.accepted", subject=printable(subject), **conversation.facts())
            await conversation.result("success")

    async def _tell(self, conversation: Conversation, text: str) -> None:
        """Shows a text until the person presses Enter, or the agent stops. A scanner would never press it."""
        if conversation.is_with_program or conversation.has_open_prompt:
            await conversation.info(texts.without_enter(text))
            return
        with suppress(StoppingError, TimeoutError):
            async with asyncio.timeout(_READING_SECONDS), self.waiting.until_stop():
                await conversation.prompt(text, echo=False)

    async def _end(self, conversation: Conversation, result: Result, reason: str) -> None:
        """Ends a login that opens nothing. sshd does not ask a program again: it would wait in vain."""
        await conversation.result("final" if conversation.is_with_program else result, reason)

    async def _approve(self, question: LoginQuestion, conversation: Conversation, logger: Any) -> str:
        """Returns the subject who approved this login and owns the account. Raises `RefusedError`."""
        if question.config:
            realm = await conversation.keep_waiting(self._threads.run(self._named.realm, question.config))
            logger = logger.bind(config=printable(question.config))
            settings: HostSettings = realm.settings
            pages: list[tuple[Method, _Approve]] = [("device", partial(self._approve_at_provider, realm))]
        else:
            settings, pages = self._settings, self._pages()
            if remembered := await self._remembered_subject(question, conversation, logger):
                return remembered
            if self.token_realms.all:
                async with self.waiting.until_stop():
                    with places.for_token(self.waiting, question):
                        token = await prompt.ask(conversation, or_enter=bool(pages))
                if token or not pages:
                    return await self._approve_by_token(token, question, conversation)
        with places.for_page(self.waiting, question, settings):
            return await self._approve_on_page(pages, settings, question, conversation, logger)

    async def _remembered_subject(self, question: LoginQuestion, conversation: Conversation, logger: Any) -> str | None:
        """Returns the subject of a remembered approval that opens this login. None: the person has to be asked."""
        if not self.remembered.is_on:
            return None
        find = self._threads.run(self.remembered.find, question, self.reports.is_confirmed)
        entry = await conversation.keep_waiting(find)
        if entry is None:
            return None
        await conversation.keep_waiting(self._threads.run(self._logged_in, question.user))
        conversation.page = "remembered"
        self.sessions.passed(question, SessionLogin(entry.issuer, entry.subject, entry.approval))
        logger.info("host_remembered.used", approval=entry.approval, subject=printable(entry.subject))
        return entry.subject

    def _pages(self) -> list[tuple[Method, "_Approve"]]:
        """Returns the methods that are in use, with a page in a browser, in their order."""
        pages: dict[Method, _Approve] = {}
        if self._approval_realm is not None:
            pages["approval"] = partial(self._approvals.log_in, self._approval_realm, self._settings)
        if self._realm is not None:
            pages["device"] = partial(self._approve_at_provider, self._realm)
        return [(name, pages[name]) for name in self._settings.used_methods if name in pages]

    async def _approve_on_page(
        self, pages: "Sequence[tuple[Method, _Approve]]", settings: HostSettings, question: LoginQuestion,
        conversation: Conversation, logger: Any,
    ) -> str:  # fmt: skip
        """Returns the subject who approved by the first method, or by a later one if the services before are away."""
        (name, approve), following = pages[0], pages[1:]
        conversation.page = name
        try:
            return await approve(question, conversation, logger)
        except AwayError as away:
            if not following or settings.when_away == "deny":
                raise away.cause from None
            conversation.instead_of = f"{conversation.instead_of} {name}".strip()
            logger.warning("host_login.method_away", method=name, next=following[0][0], message=str(away))
        return await self._approve_on_page(following, settings, question, conversation, logger)

    async def _approve_by_token(self, token: str, question: LoginQuestion, conversation: Conversation) -> str:
        """Returns the subject of the token, who owns the account. Raises `RefusedError`."""
        conversation.is_with_program = True
        presented, token = token, self._passwords.token_of(token)
        verify = self._threads.verify(self.token_realms.identify, token, question.client_ip)
        try:
            realm, identity = await conversation.keep_waiting(verify)
        except AccessTokenError as error:
            fault = "cut" if error.fault in ("signature", "unknown") and is_cut(token) else error.fault
            raise RefusedError(str(error), texts.OF_TOKEN.get(fault, texts.TOKEN_REFUSED)) from None
        if realm.settings.allow.publickey and not question.keys:
            raise RefusedError("allow.publickey: sshd has accepted no key before", subject=identity.subject)
        await conversation.keep_waiting(self._threads.run(self._decide, realm, question, identity, None))
        if presented != token and not self._passwords.use(presented):
            raise RefusedError("another login has used the one-time password", texts.TOKEN_REFUSED)
        return identity.subject

    async def _approve_at_provider(
        self, realm: Realm, question: LoginQuestion, conversation: Conversation, logger: Any
    ) -> str:
        """Returns the subject who approved this login and owns the account. Raises `RefusedError`."""
        if realm.settings.allow.publickey and not question.keys:  # before the provider: it says nothing of accounts
            raise RefusedError("allow.publickey: sshd has accepted no key before")
        needs_enter = await conversation.keep_waiting(self._threads.run(self._needs_enter, realm, question))
        login = DeviceLogin(realm, question, conversation, self._threads, self._host_name, needs_enter, logger)
        try:
            async with self.waiting.until_stop():
                identity = await login.identity()
            tokens = login.kept[1] if login.kept else None
            await conversation.keep_waiting(self._threads.run(self._decide, realm, question, identity, tokens))
        except BaseException:
            if login.kept is not None:
                self._threads.ask_later("revoke", self.recheck.revoke_new, realm, *login.kept)
            raise
        return identity.subject

    def _decide(self, realm: Decider, question: LoginQuestion, identity: Identity, tokens: Tokens | None) -> None:
        """Raises `RefusedError` if the account is not this identity's, or it may not use it. It blocks.

        It comes after the approval: before, the time of the look-up would tell a stranger which accounts exist.
        """
        user = question.user
        account = self._give(realm, user, identity, question.began, is_own=not question.config)
        if account is not None and not account.is_made:
            self.first_login.check_connection(user, question.began)
        self.recheck.logged_in(user, identity, realm, tokens)
        self._logged_in(user)
        self.sessions.passed(question, SessionLogin(identity.issuer, identity.subject))

    def _give(
        self, realm: Decider, user: str, identity: Identity, began: float, *, is_own: bool = True
    ) -> Account | None:
        """Gives the account to the identity: it is made if it must be, and has its rights. Otherwise as `_decide`.

        Returns the account as it was before. `began` and `is_own` are those of `Login`.
        """
        account = self.first_login.account(user)
        rights = rights_of(realm.settings, identity.claims)
        person = accounts.person(realm.settings, identity.claims)
        prepare = partial(self.first_login.prepare, login=Login(rights, began, person, is_own))
        realm.decide(account, identity, self._bindings, prepare, partial(self._closed_to, realm, identity))
        if is_own:  # a file that a PAM line names has no roles, so it says nothing of them
            self._apply_roles(realm, user, identity)
        return account

    def _deploy(self, realm: Decider, user: str, identity: Identity) -> None:
        """Gives the account to the identity without a login. It is a check of the person. Otherwise as `_give`."""
        self._give(realm, user, identity, uptime())
        self.recheck.logged_in(user, identity, realm, None)

    def _apply_roles(self, realm: Decider, user: str, identity: Identity) -> None:
        """Sets the groups of an account as its person's roles say. It blocks.

        An account of several people gets none: each of them would have the rights of the one who has logged in last.
        Raises `RefusedError` if a group stays that no role gives any more, and `DatabaseError`.
        """
        groups = rights_of(realm.settings, identity.claims).local_groups
        is_own = not groups or len(self._bindings.of(user)) == 1
        self._role_groups.apply(user, groups if is_own else frozenset())

    def _closed_to(self, realm: Decider, identity: Identity, user: str) -> str | None:
        """Returns why this identity, which may have the account, may not log in now. Raises `DatabaseError`.

        Its approval shows that it is good again. So it opens an account that was closed because it was not. An access
        token may be older than the check that has closed the account, so it opens nothing.
        """
        if not isinstance(realm, Realm):
            return self._closed_to_tokens(user, identity.issuer, identity.subject)
        if is_bound_to(self._bindings.of(user), identity.issuer, identity.subject):
            self.rounds.lift(user)
        return self._closed(user) or self._persons.suspended(identity.issuer, identity.subject)

    def _decide_approved(self, realm: Decider, question: LoginQuestion, identity: Identity, approval: str) -> None:
        """Decides as `_decide`, and remembers the approval with this id where the settings say so."""
        self._decide(realm, question, identity, None)
        self.sessions.passed(question, SessionLogin(identity.issuer, identity.subject, approval))
        self.remembered.remember(question, approval, identity)

    def _refusal_of(self, entry: Entry) -> str | None:
        """Returns why the rules of today do not give the account to the person. Raises `DatabaseError`."""
        realm = self._approval_realm
        if realm is None:
            return "approvals are not in use"
        if realm.settings.allow.publickey and not entry.circumstances.fingerprint:
            return "allow.publickey: sshd has accepted no key before"
        account = self.first_login.account(entry.circumstances.account)
        try:
            realm.allow(account, Identity(entry.issuer, entry.subject, entry.claims, frozenset()))
        except RefusedError as refused:
            return str(refused)
        return None if account is not None and account.is_made else "this host does not have the account"

    def _closed_to_tokens(self, user: str, issuer: str, subject: str) -> str | None:
        """Returns why no access token of this identity opens the account. Raises `DatabaseError`."""
        reason = self.recheck.refused(user, issuer, subject) or self._closed(user)
        return reason or self._persons.suspended(issuer, subject)

    def _stays_closed(self, user: str) -> str | None:
        """Returns why not even an approval of its owner opens the account. Raises `DatabaseError`."""
        return None if self.rounds.has_closed(user) else self._closed(user)

    def _closed(self, user: str) -> str | None:
        """Returns why nobody may log in to the account now. Raises `DatabaseError`."""
        return self.life_cycle.refusal(user, self._now())

    def _logged_in(self, user: str) -> None:
        """Remembers the login. A full disk must not refuse a person who may log in."""
        try:
            self.life_cycle.logged_in(user, self._now())
        except DatabaseError as error:
            log.get_logger().error("host_login.not_counted", message=str(error))

    def _needs_enter(self, realm: Realm, question: LoginQuestion) -> bool:
        """Whether the person must press Enter after the approval. It blocks."""
        enter = realm.settings.enter
        return not self._sshd.shows_text_at_once(question.service) if enter == "auto" else enter == "always"


def _new_reference(question: LoginQuestion) -> tuple[str, Any]:
    """Returns a number that the person reads, and a logger that writes it into each event."""
    reference = secrets.token_hex(4)
    return reference, log.get_logger().bind(reference=reference, **question.facts())
