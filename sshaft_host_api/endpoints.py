"""Answers each endpoint of the contract from what the agent says."""

import re
from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import JSONResponse, Response

from sshaft_host_api import pages, refusals, texts
from sshaft_host_api.agent import Agent
from sshaft_host_api.answers import Account, Authorisation, Info, Verification
from sshaft_host_api.call import Call

_USABLE = ("deployed", "limited")
Endpoint = Callable[[Call, Agent], Awaitable[Response]]


def _text(body: Mapping[str, object]) -> Endpoint:
    async def answer(_call: Call, _agent: Agent) -> Response:
        return JSONResponse(body)

    return answer


async def info(call: Call, agent: Agent) -> Response:
    """/info: what the host says about itself."""
    host = await _info(call, agent)
    providers = {each.issuer: {"scopes": each.scopes, "audience": each.audience} for each in host.providers}
    return JSONResponse({"login_info": host.login_info, "supported_OPs": list(providers), "ops_info": providers})


async def info_op(call: Call, agent: Agent) -> Response:
    """/info/op: which scopes and which audience a token of one provider needs."""
    url = canonical(call.parameter("url"))
    for each in (await _info(call, agent)).providers:
        if canonical(each.issuer) == url:
            return JSONResponse({"scopes": each.scopes, "audience": each.audience})
    raise refusals.not_found("OP not supported")


async def authorisation(call: Call, agent: Agent) -> Response:
    """/info/authorisation: which people of the token's provider may log in."""
    fields = {"token": call.token(), "client_ip": call.client}
    found = await agent.ask(Authorisation, "api_authorisation", fields, call.client)
    vos = {"supported_VOs": found.vos} if found.type == "VO-based" else {}
    named = {"OP": found.issuer, "authorisation_type": found.type, "authorisation_info": found.info}
    return JSONResponse({**named, **vos, "audience": found.audience})


async def get_status(call: Call, agent: Agent) -> Response:
    account = await _user(call, agent, "status")
    return JSONResponse(_state(account, texts.status(account)))


async def status(call: Call, agent: Agent) -> Response:
    account = await _user(call, agent, "status")
    who = {"username": account.name, "sub": account.subject, "iss": account.issuer}
    return JSONResponse({**_state(account, texts.status(account)), **who})


async def deploy(call: Call, agent: Agent) -> Response:
    account = await _user(call, agent, "deploy")
    credentials: dict[str, object] = {}
    if account.state == "deployed":
        login_info = (await _info(call, agent)).login_info
        host = login_info.get("ssh_host", "")
        credentials = {**login_info, "ssh_user": account.name, "commandline": f"ssh {account.name}@{host}"}
    return JSONResponse(_state(account, texts.deployed(account), credentials))


async def suspend(call: Call, agent: Agent) -> Response:
    account = await _user(call, agent, "suspend")
    return JSONResponse(_state(account, texts.suspended(account)))


async def generate_otp(call: Call, agent: Agent) -> Response:
    account = await _user(call, agent, "otp")
    if not account.supported:
        return JSONResponse({"supported": False})
    return JSONResponse({"supported": True, "successful": account.successful})


async def verify_user(call: Call, agent: Agent) -> Response:
    """/verify_user: the PAM module reads `verified`, and nothing else of this body."""
    fields = {"user": call.parameter("username"), "token": call.token(), "client_ip": call.client}
    found = await agent.ask(Verification, "api_verify", fields, call.client)
    return JSONResponse({"state": found.state, "verified": found.verified and found.state in _USABLE})


async def admin_suspend(call: Call, agent: Agent) -> Response:
    account = await _admin(call, agent, "suspend")
    return JSONResponse(_state(account, texts.suspended(account)))


async def admin_resume(call: Call, agent: Agent) -> Response:
    account = await _admin(call, agent, "resume")
    return JSONResponse(_state(account, texts.resumed(account)))


ENDPOINTS: dict[str, Endpoint] = {
    "": _text(texts.ROOT),
    "/": _text(texts.ROOT),
    "/info": info,
    "/info/op": info_op,
    "/info/authorisation": authorisation,
    "/user": _text(texts.USER),
    "/user/get_status": get_status,
    "/user/status": status,
    "/user/deploy": deploy,
    "/user/suspend": suspend,
    "/user/generate_otp": generate_otp,
    "/verify_user": verify_user,
    "/openapi.json": pages.openapi,
    "/admin": _text(texts.ADMIN),
    "/admin/suspend": admin_suspend,
    "/admin/resume": admin_resume,
}


def canonical(url: str) -> str:
    """Returns the address of a provider as clients may write it: without scheme, `www.` and one slash at its end."""
    return re.sub(r"\A(https?://)?(www\.)?", "", url.lower()).removesuffix("/")


def _state(account: Account, message: str, credentials: dict[str, object] | None = None) -> dict[str, object]:
    return {"state": account.state, "message": message, "credentials": credentials or {}}


async def _info(call: Call, agent: Agent) -> Info:
    return await agent.ask(Info, "api_info", {}, call.client)


async def _user(call: Call, agent: Agent, action: str) -> Account:
    fields = {"action": action, "token": call.token(), "client_ip": call.client}
    return await agent.ask(Account, "api_user", fields, call.client)


async def _admin(call: Call, agent: Agent, action: str) -> Account:
    who = {"subject": call.parameter("sub"), "issuer": call.parameter("iss")}
    fields = {"action": action, **who, "token": call.token(), "client_ip": call.client}
    return await agent.ask(Account, "api_admin", fields, call.client)
