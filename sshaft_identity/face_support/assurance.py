"""What a client asks to have proven (`acr_values`, the `acr` of `claims`), and what it is told (OpenID Connect Core 1.0
§2, §5.5.1.1; RFC 9470). Nothing is ever claimed that the SSH login has not proven.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sshaft_identity.challenges.challenge import Challenge

CODE = "urn:sshaft:acr:code"
VERIFIED_CODE = "urn:sshaft:acr:verified-code"
POSSESSION = ("possession", "possessionorinherence", "knowledgeorpossession", "knowledgeorpossessionorinherence")
"""Microsoft's words for what holds of every passed challenge: the person has the key."""
SUPPORTED = (CODE, VERIFIED_CODE, *POSSESSION)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The acr values that were asked for, the best first. `essential`: nothing else will do."""

    values: tuple[str, ...] = ()
    essential: bool = False

    @property
    def verify_required(self) -> bool:
        """Whether only a security key that asks for its PIN or a finger will do: then sshd is to enforce it."""
        known = [value for value in self.values if value in SUPPORTED]
        return bool(known) and all(value == VERIFIED_CODE for value in known)

    @property
    def is_possible(self) -> bool:
        return not self.essential or not self.values or any(value in SUPPORTED for value in self.values)


def reached(wanted: Wanted, challenge: Challenge) -> str | None:
    """The acr to tell of a passed challenge; None where what was essential is not reached, or there is nothing to
    claim.
    """
    if challenge.acr is None:
        return None
    proven: Collection[str] = {challenge.acr, CODE, *POSSESSION}
    found = next((value for value in wanted.values if value in proven), None)
    return found if found is not None or (wanted.essential and wanted.values) else challenge.acr
