"""What a client asks to have proven (`acr_values`, the `acr` of `claims`), and what it is told (OpenID Connect Core 1.0
§2, §5.5.1.1; RFC 9470). Nothing is ever claimed that the SSH login has not proven.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sshaft_identity.challenges.challenge import Challenge

ACR_CODE = "urn:sshaft:acr:code"
ACR_VERIFIED_CODE = "urn:sshaft:acr:verified-code"
POSSESSION_ACRS = ("possession", "possessionorinherence", "knowledgeorpossession", "knowledgeorpossessionorinherence")
"""Microsoft's words for what holds of every passed challenge: the person has the key."""
SUPPORTED_ACRS = (ACR_CODE, ACR_VERIFIED_CODE, *POSSESSION_ACRS)


@dataclass(frozen=True, slots=True)
class AcrRequest:
    """The acr values that were asked for, the best first. `essential`: nothing else will do."""

    values: tuple[str, ...] = ()
    essential: bool = False

    @property
    def verify_required(self) -> bool:
        """Whether only a security key that asks for its PIN or a finger will do: then sshd is to enforce it."""
        known = [value for value in self.values if value in SUPPORTED_ACRS]
        return bool(known) and all(value == ACR_VERIFIED_CODE for value in known)

    @property
    def is_satisfiable(self) -> bool:
        return not self.essential or not self.values or any(value in SUPPORTED_ACRS for value in self.values)


def acr_of(wanted: AcrRequest, challenge: Challenge) -> str | None:
    """The acr to tell of a passed challenge; None where what was essential is not reached, or there is nothing to
    claim.
    """
    if challenge.acr is None:
        return None
    proven: Collection[str] = {challenge.acr, ACR_CODE, *POSSESSION_ACRS}
    found = next((value for value in wanted.values if value in proven), None)
    return found if found is not None or (wanted.essential and wanted.values) else challenge.acr
