"""Tests the login with an access token: the prompts, who gets in, and which provider is asked about which token."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.forged_tokens import unsigned
from fakes.openid_provider import AUDIENCE, CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from unit.agent.host_login.test_host_login import ALICE, Login, Module, connected, run_at

from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.host_login import HostLogin
from sshaft_agent.host_login.settings import HostLoginSettings, HostSettings
from sshaft_agent.host_login.sshd import Sshd

PROMPT = "Access Token:"
OPAQUE = "opaque-token-of-alice"


@pytest.fixture
def providers() -> Iterator[list[OpenIdProvider]]:
    """Two providers. Both know alice."""
    with ExitStack() as stack:
        yield [stack.enter_context(OpenIdProvider(lambda: datetime.now(UTC), "")) for _ in range(2)]


@pytest.fixture
def provider(providers: list[OpenIdProvider]) -> OpenIdProvider:
    return providers[0]


def entry(provider: OpenIdProvider, **changes: Any) -> dict[str, Any]:
    return {"issuer": provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True}} | changes


def opaque(provider: OpenIdProvider, **changes: Any) -> dict[str, Any]:
    """Returns the entry of a provider that is asked whose a token is."""
    secret = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    provider.good_tokens.add(OPAQUE)
    provider.bend_introspection = {"sub": "subject-1", "username": "alice", "aud": AUDIENCE}
    return entry(provider, form="introspection", **secret, **changes)


def settings_of(directory: Path, *tokens: dict[str, Any], **more: Any) -> HostSettings:
    kind = HostLoginSettings if "issuer" in more else HostSettings
    return kind.model_validate_json(json.dumps({"tokens": tokens, "state_directory": str(directory)} | more))


def new_host_login(directory: Path, *tokens: dict[str, Any], **more: Any) -> HostLogin:
    find = {"alice": Account("alice", 1000)}.get
    return HostLogin(settings_of(directory, *tokens, **more), "web1", find, sshd=Sshd(directory / "sshd"))


def run(directory: Path, tokens: list[dict[str, Any]], *logins: Login, **more: Any) -> HostLogin:
    host_login = new_host_login(directory, *tokens, **more)
    run_at(host_login, directory, *logins)
    return host_login


async def begun(module: Module, **changes: str) -> str:
    module.send("login", **(ALICE | changes))
    return await module.prompt()


def accepted(token: str) -> Login:
    async def login(module: Module) -> None:
        assert await begun(module) == PROMPT
        module.send("answer", text=token)
        assert await module.result() == "success"

    return login


def refused(token: str, text: str = "not accepted", user: str = "alice") -> Login:
    """The person reads why, presses nothing, and sshd does not ask again."""

    async def login(module: Module) -> None:
        await begun(module, user=user)
        module.send("answer", text=token)
        kind, fields = await module.read()
        assert (kind, text in fields["text"]) == ("info", True), fields
        assert "Enter" not in fields["text"]
        assert await module.result() == "final"

    return login


def test_person_with_a_token_is_in(provider: OpenIdProvider, tmp_path: Path) -> None:
    assert run(tmp_path, [entry(provider)], accepted(provider.access_token())).outcomes == {"accepted": 1}


def test_answer_is_not_shown(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        assert await module.read() == ("prompt", {"text": PROMPT, "echo": "no"})

    run(tmp_path, [entry(provider)], login)


def test_account_stays_with_its_first_identity(provider: OpenIdProvider, tmp_path: Path) -> None:
    other = provider.access_token(sub="subject-2")
    run(tmp_path, [entry(provider)], accepted(provider.access_token()), refused(other))


def test_same_name_at_two_providers_is_not_the_same_person(providers: list[OpenIdProvider], tmp_path: Path) -> None:
    first, second = providers
    tokens = [entry(first), entry(second)]
    run(tmp_path, tokens, accepted(first.access_token()), refused(second.access_token()))


@pytest.mark.parametrize(
    ("rules", "changes"),
    [
        ({"allow": {"groups": ["ssh"]}}, {}),
        ({"allow": {"subjects": ["subject-2"]}}, {}),
        ({"allow": {"everyone": True, "claims": {"hd": ["example.org"]}}}, {}),
        ({"scopes": ["ssh"]}, {}),
        ({"claim": "email"}, {}),
        ({"map": {"bob": "alice"}}, {}),
        ({"allow": {"everyone": True, "publickey": True}}, {}),
        ({}, {"preferred_username": "bob"}),
    ],
)
def test_rules_of_the_provider_decide(
    provider: OpenIdProvider, tmp_path: Path, rules: dict[str, Any], changes: dict[str, Any]
) -> None:
    run(tmp_path, [entry(provider, **rules)], refused(provider.access_token(**changes)))


@pytest.mark.parametrize(
    "rules",
    [
        {"allow": {"groups": ["ssh"], "subjects": ["subject-1"]}},
        {"allow": {"groups": ["ssh", "admins"], "subjects": ["subject-2"]}},
        {"scopes": ["openid", "profile"]},
    ],
)
def test_one_of_groups_and_subjects_is_enough(provider: OpenIdProvider, tmp_path: Path, rules: dict[str, Any]) -> None:
    run(tmp_path, [entry(provider, **rules)], accepted(provider.access_token(groups=["admins"])))


def test_each_provider_has_its_own_rules(providers: list[OpenIdProvider], tmp_path: Path) -> None:
    first, second = providers
    tokens = [entry(first, allow={"subjects": ["nobody"]}), entry(second)]
    run(tmp_path, tokens, refused(first.access_token()), accepted(second.access_token()))


# --- which provider is asked


@pytest.mark.parametrize("make", [None, unsigned])
def test_foreign_issuer_is_never_asked(providers: list[OpenIdProvider], tmp_path: Path, make: Any) -> None:
    """A token names an issuer that nobody has configured. Its server hears nothing, and nobody else sees the token."""
    configured, foreign = providers
    foreign.make_token = make and make(foreign)
    token = foreign.access_token(jku=f"{foreign.issuer}/jwks")
    run(tmp_path, [opaque(configured)], refused(token))
    assert (foreign.calls, configured.calls) == ([], [])


def test_token_of_one_provider_is_not_shown_to_the_other(providers: list[OpenIdProvider], tmp_path: Path) -> None:
    first, second = providers
    good, forged = first.access_token(), first.access_token()[:-8]
    run(tmp_path, [entry(first), opaque(second)], accepted(good), refused(forged, "too long"))
    assert second.calls == []


def test_opaque_token_goes_to_the_one_provider_that_is_asked(providers: list[OpenIdProvider], tmp_path: Path) -> None:
    first, second = providers
    run(tmp_path, [entry(first), opaque(second)], accepted(OPAQUE), refused("other-opaque-token-1"))
    assert first.calls == []
    assert second.calls.count("/introspect") == 2


def test_opaque_token_goes_nowhere_if_nobody_is_to_be_asked(provider: OpenIdProvider, tmp_path: Path) -> None:
    provider.bend_introspection = provider.bend_userinfo = {"sub": "subject-1", "preferred_username": "alice"}
    run(tmp_path, [entry(provider)], refused(OPAQUE))
    assert provider.calls == []


def test_jwt_goes_to_its_issuer_also_if_that_one_is_asked(provider: OpenIdProvider, tmp_path: Path) -> None:
    token = provider.access_token({"typ": "JWT"})
    provider.good_tokens = {token}
    run(tmp_path, [opaque(provider)], accepted(token))


def test_provider_that_is_not_for_opaque_tokens_is_asked_about_its_own_alone(
    providers: list[OpenIdProvider], tmp_path: Path
) -> None:
    first, second = providers
    token = second.access_token({"typ": "JWT"})
    first.good_tokens, second.good_tokens = {OPAQUE}, {token, OPAQUE}
    tokens = [opaque(first), opaque(second, opaque=False)]
    run(tmp_path, tokens, accepted(OPAQUE), refused(token[:-4] + "aaaa"), refused(token))
    assert second.forms[-1]["token"] == token
    assert OPAQUE not in [form["token"] for form in second.forms]


def test_jwt_that_is_bound_to_a_key_is_not_shown_to_the_provider(provider: OpenIdProvider, tmp_path: Path) -> None:
    token = provider.access_token(cnf={"jkt": "x"})
    provider.good_tokens = {token}
    run(tmp_path, [opaque(provider)], refused(token))
    assert provider.calls == []


def test_good_token_is_asked_about_once_in_a_minute(provider: OpenIdProvider, tmp_path: Path) -> None:
    run(tmp_path, [opaque(provider)], *[accepted(OPAQUE)] * 3)
    assert provider.calls.count("/introspect") == 1


def test_wrong_tokens_of_one_source_do_not_reach_the_provider_without_end(
    provider: OpenIdProvider, tmp_path: Path
) -> None:
    async def from_elsewhere(module: Module) -> None:
        await begun(module, rhost="198.51.100.9")
        module.send("answer", text=OPAQUE)
        assert await module.result() == "success"

    wrong = [refused(f"wrong-token-of-a-stranger-{number}") for number in range(40)]
    run(tmp_path, [opaque(provider)], *wrong, from_elsewhere)
    assert 30 < provider.calls.count("/introspect") < 40


def test_provider_that_is_away_is_told(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text=OPAQUE)
        kind, fields = await module.read()
        assert (kind, "cannot be used now" in fields["text"]) == ("info", True)
        assert await module.result() == "final"

    tokens = [opaque(provider)]
    provider.status["/introspect"] = 503
    assert run(tmp_path, tokens, login).outcomes == {"unavailable": 1}


# --- what the person types


@pytest.mark.parametrize("answer", ["", " ", "\\", "a b", "correct-horse", "ä", "\x1b]0;x\x07", "a" * 13_000])
def test_text_that_is_no_token_opens_nothing(provider: OpenIdProvider, tmp_path: Path, answer: str) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text=answer)
        while (read := await module.read())[0] == "prompt":
            module.send("answer", text="")
        assert read[0] == "info"
        assert await module.result() == "final"

    run(tmp_path, [opaque(provider)], login)
    assert provider.calls == []


def test_expired_token_is_told(provider: OpenIdProvider, tmp_path: Path) -> None:
    run(tmp_path, [entry(provider)], refused(provider.access_token(exp=1), "has expired"))


@pytest.mark.parametrize("cut", [1023, 700, 100])
def test_token_that_ssh_has_cut_is_told(provider: OpenIdProvider, tmp_path: Path, cut: int) -> None:
    token = provider.access_token(long="x" * 1000)
    run(tmp_path, [entry(provider)], refused(token[:cut], "too long"))


def test_refusal_tells_nothing_of_accounts(provider: OpenIdProvider, tmp_path: Path) -> None:
    said = []

    def login_as(user: str) -> Login:
        async def login(module: Module) -> None:
            await begun(module, user=user)
            module.send("answer", text=provider.access_token(preferred_username="bob"))
            said.append((await module.read())[1]["text"].partition("Reference")[0])
            assert await module.result() == "final"

        return login

    run(tmp_path, [entry(provider)], *[login_as(user) for user in ("alice", "root", "nobody-has-it")])
    assert len(set(said)) == 1


def parts_of(token: str, size: int) -> list[str]:
    parts = [token[start : start + size] for start in range(0, len(token), size)]
    return [part + "\\" for part in parts[:-1]] + parts[-1:]


@pytest.mark.parametrize("size", [1000, 300])
def test_long_token_may_come_in_parts(provider: OpenIdProvider, tmp_path: Path, size: int) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        for part in parts_of(token, size):
            assert await module.prompt() == PROMPT
            module.send("answer", text=part)
        assert await module.result() == "success"

    token = provider.access_token(long="x" * 1000)
    assert len(token) > 1023
    run(tmp_path, [entry(provider)], login)


def test_token_without_an_end_is_refused(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        prompts = 0
        while (await module.read())[0] == "prompt":
            prompts += 1
            module.send("answer", text="a\\")
        assert prompts == 16
        assert await module.result() == "final"

    run(tmp_path, [entry(provider)], login)


def test_one_source_has_a_bounded_number_of_prompts(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        async with AsyncExitStack() as others:
            for _ in range(100):
                await begun(await others.enter_async_context(connected(tmp_path)))
            assert "wait already" in await begun(module)
        module.send("answer", text="")
        assert await module.result() == "denied"

    async def elsewhere(module: Module) -> None:
        assert await begun(module, rhost="198.51.100.9") == PROMPT

    run(tmp_path, [entry(provider)], login, elsewhere)


def test_person_who_leaves_is_gone(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)

    assert run(tmp_path, [entry(provider)], login).outcomes == {"gone": 1}


def test_agent_that_stops_ends_the_prompt(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        host_login.stop()
        assert "restarts" in (await module.read())[1]["text"]
        assert await module.result() == "unavailable"

    host_login = new_host_login(tmp_path, entry(provider))
    run_at(host_login, tmp_path, login)


# --- a browser beside the tokens


def browser(provider: OpenIdProvider) -> dict[str, Any]:
    provider.public, provider.is_approved = True, True
    return {"issuer": provider.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True}}


def test_enter_begins_the_login_with_a_browser(providers: list[OpenIdProvider], tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        assert await begun(module) == f"Press Enter to log in with your browser, or paste an {PROMPT}"
        module.send("answer", text="")
        assert "/device" in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "success"

    run(tmp_path, [entry(providers[1])], login, **browser(providers[0]))


def test_token_beside_a_browser_is_taken_at_the_same_prompt(provider: OpenIdProvider, tmp_path: Path) -> None:
    """The person of the browser and of the token is the same one at the same provider."""

    async def by_browser(module: Module) -> None:
        await begun(module)
        module.send("answer", text="")
        await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "success"

    async def by_token(module: Module) -> None:
        await begun(module)
        module.send("answer", text=provider.access_token())
        assert await module.result() == "success"

    run(tmp_path, [entry(provider)], by_browser, by_token, **browser(provider))


def test_prompt_is_one_line_that_clients_know(providers: list[OpenIdProvider], tmp_path: Path) -> None:
    """mccli looks for `Access Token:` at the end of the first line that it reads."""

    async def login(module: Module) -> None:
        text = await begun(module)
        assert "\n" not in text
        assert text.endswith(PROMPT)

    run(tmp_path, [entry(providers[1])], login, **browser(providers[0]))


def test_reload_uses_other_providers(providers: list[OpenIdProvider], tmp_path: Path) -> None:
    first, second = providers
    token = first.access_token()

    async def reload(module: Module) -> None:
        await accepted(token)(module)
        host_login.replace_settings(settings_of(tmp_path, entry(second)))

    host_login = new_host_login(tmp_path, entry(first))
    run_at(host_login, tmp_path, reload, refused(token))


def test_many_tokens_at_once_are_all_decided(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(_module: Module) -> None:
        identify = host_login.token_realms.identify
        found = await asyncio.gather(*[asyncio.to_thread(identify, token, "192.0.2.7") for token in tokens])
        assert {identity.subject for _, identity in found} == {"subject-1"}

    tokens = [provider.access_token() for _ in range(40)]
    host_login = new_host_login(tmp_path, entry(provider))
    run_at(host_login, tmp_path, login)
    assert provider.calls.count("/jwks") == 1


# --- an operator who tries the rules


def explained(host_login: HostLogin, **fields: str) -> dict[str, bool]:
    _kind, answer = asyncio.run(host_login.operator.answers()["explain"]({"user": "alice"} | fields))
    return {each["rule"]: each["passed"] for each in json.loads(answer["json"])}


def test_operator_sees_how_a_token_would_be_decided(providers: list[OpenIdProvider], tmp_path: Path) -> None:
    first, second = providers
    host_login = new_host_login(tmp_path, entry(first, allow={"groups": ["ssh"]}), entry(second))
    assert not explained(host_login, token=first.access_token())["allow.groups"]
    assert all(explained(host_login, token=second.access_token()).values())
    assert explained(host_login, token=second.access_token(exp=1)) == {"token": False}
    assert explained(host_login, token=OPAQUE) == {"token": False}
    host_login.close()


def test_operator_sees_the_rules_of_the_provider_that_claims_name(
    providers: list[OpenIdProvider], tmp_path: Path
) -> None:
    first, second = providers
    host_login = new_host_login(tmp_path, entry(second, claim="email"), **browser(first))
    claims = {"sub": "subject-1", "preferred_username": "alice", "email": "bob"}
    assert explained(host_login, claims=json.dumps(claims))["claim"]
    assert not explained(host_login, claims=json.dumps(claims | {"iss": second.issuer}))["claim"]
    host_login.close()


def test_operator_may_try_an_id_token_or_an_access_token(provider: OpenIdProvider, tmp_path: Path) -> None:
    host_login = new_host_login(tmp_path, entry(provider), **browser(provider))
    id_token = provider.access_token({"typ": None}, aud=CLIENT_ID)
    assert all(explained(host_login, token=id_token).values())
    assert all(explained(host_login, token=provider.access_token()).values())
    host_login.close()
