"""Brings a request to the agent and returns its answer. Loads only built-in modules."""

from sshaft import agent_socket, event, exit_status
from sshaft_login.sentences import sentence
from sshaft_login.terminal import StopError, set_deadline

PROGRAM = "sshaft-login"
_ANSWER_SECONDS = 20.0


def ask(agent: str, kind: str, fields: dict[str, str]) -> dict[str, str]:
    """Returns the fields of the agent's answer. Raises `StopError` if no agent answers."""
    set_deadline(_ANSWER_SECONDS, exit_status.TEMPORARY, sentence("unavailable")[1])
    try:
        answered, answer = agent_socket.ask(agent, kind, fields)
    except agent_socket.AgentUnavailableError as error:
        event.write_to_syslog(PROGRAM, "login.failed", error="agent_unavailable", message=str(error))
        raise StopError(*sentence("unavailable")) from None
    return answer if answered == "result" else {"state": "unavailable"}
