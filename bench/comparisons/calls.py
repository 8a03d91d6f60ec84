"""One call of the keys command, as sshd starts it: wall time, and CPU of the process and of the agent for it.

Ours against /bin/true, against curl asking the identity API over TLS once, and against what the original did: two
requests over TLS.

    .venv/bin/python -m bench.comparisons.calls [--calls 200]
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

from bench.load.trial import NOTHING, Trial, cpu_of, say, tls_in_front, trial
from sshaft.public_key import parse
from sshaft_demo.place import KEYS, NATIVE

ROUND = 10


def ways(site: Trial, agent_socket: Path, config: Path) -> dict[str, list[str]]:
    key = parse(site.keys[0].with_suffix(".pub").read_text())
    question = ["--fingerprint", key.fingerprint, "--type", key.type, "--key", str(key).split()[1]]
    settings = json.loads(config.read_text())
    form = {"grant_type": "client_credentials", "scope": settings["token_scope"],
            "client_id": settings["client_id"], "client_secret": settings["client_secret"]}  # fmt: skip
    token = requests.post(settings["token_endpoint"], data=form, verify=settings["ca_file"], timeout=10).json()
    return {
        "/bin/true": [NOTHING],
        "native": [str(site.place.libexec / NATIVE.name), "--agent", str(agent_socket), *question],
        "python": [str(site.place.libexec / "sshaft-keys"), "--agent", str(agent_socket), *question],
        "stand-alone": [str(site.place.libexec / "sshaft-keys"), "--config", str(config), *question],
        "curl": ["/usr/bin/curl", "-sSf", "--cacert", settings["ca_file"], "-o", "/dev/null", "-H",
                 f"Authorization: Bearer {token['access_token']}", settings["mfa_list_endpoint"]],
        "original": site.original(config),
    }  # fmt: skip


def run(calls: int) -> dict[str, dict[str, Any]]:
    """Milliseconds a call, by name."""
    measured: dict[str, list[tuple[float, float]]] = {}
    agents: dict[str, float] = {}
    with trial() as site, tls_in_front(site) as secure:
        site.wait_for_everybody()
        agent = site.agent()
        commands = ways(site, agent.runtime / "keys" / "agent.sock", secure("secure", login_path=NOTHING))
        process = site.place.popen(
            [Path(sys.executable).resolve(), "-IS", site.copied("timed_starts.py")],
            account=KEYS, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin
        assert process.stdout
        for number in range(calls // ROUND):
            say(f"  {number * ROUND} of {calls} calls")
            for name, words in commands.items():
                with cpu_of(agent.process) as used:
                    process.stdin.write(json.dumps([ROUND, words]).encode() + b"\n")
                    process.stdin.flush()
                    measured.setdefault(name, []).extend(json.loads(process.stdout.readline()))
                agents[name] = agents.get(name, 0.0) + used[0]
        process.stdin.close()
        process.wait()
    wall = {name: statistics.median(each[0] for each in taken) for name, taken in measured.items()}
    cpu = {name: statistics.mean(each[1] for each in taken) for name, taken in measured.items()}
    agents = {name: used / len(measured[name]) for name, used in agents.items()}
    original = cpu["original"]
    return {
        name: {
            "wall_ms": round(wall[name] * 1000, 2),
            "more_than_true_ms": round((wall[name] - wall["/bin/true"]) * 1000, 2),
            "cpu_ms": round(cpu[name] * 1000, 2),
            "agent_cpu_ms": round(agents[name] * 1000, 2),
            "times_less_cpu_than_original": round(original / (cpu[name] + agents[name]), 1),
        }
        for name in measured
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    print(json.dumps(run(parser.parse_args().calls), indent=1))


if __name__ == "__main__":
    main()
