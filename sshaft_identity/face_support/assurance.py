"""Chooses the `acr` of an ID token from the values that the client requests (`acr_values`, or `acr` in `claims`).

The standards are OpenID Connect Core 1.0 §2 and §5.5.1.1, and RFC 9470. An `acr` never claims more than the SSH login
has proven.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sshaft_identity.challenges.challenge import Challenge

_ACR_CODE = "urn:sshaft:acr:code"
_ACR_VERIFIED_CODE = "urn:sshaft:acr:verified-code"
POSSESSION_ACRS = ("possession", "possessionorinherence", "knowledgeorpossession", "knowledgeorpossessionorinherence")
"""Values of Microsoft that every passed challenge fulfils: the person has the key."""
SUPPORTED_ACRS = (_ACR_CODE, _ACR_VERIFIED_CODE, *POSSESSION_ACRS)


@dataclass(frozen=True, slots=True)
class AcrRequest:
    """The acr values that the client requests, the best first. `essential`: the login fails without one of them."""

    values: tuple[str, ...] = ()
    essential: bool = False

    @property
    def verify_required(self) -> bool:
        """Whether sshd must enforce a security key that asks for its PIN or a finger, because no other value helps."""
        known = [value for value in self.values if value in SUPPORTED_ACRS]
        return bool(known) and all(value == _ACR_VERIFIED_CODE for value in known)

    @property
    def is_satisfiable(self) -> bool:
        return not self.essential or not self.values or any(value in SUPPORTED_ACRS for value in self.values)


def acr_of(requested: AcrRequest, challenge: Challenge) -> str | None:
    """Returns the acr of a passed challenge, or None if an essential value is not reached or nothing is proven."""
    if challenge.acr is None:
        return None
    proven: Collection[str] = {challenge.acr, _ACR_CODE, *POSSESSION_ACRS}
    found = next((value for value in requested.values if value in proven), None)
    return found if found is not None or (requested.essential and requested.values) else challenge.acr
