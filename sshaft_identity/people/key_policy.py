"""Decides whether a key may be registered, for every way in: ssh, signature, operator, import."""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sshaft.public_key import DEFAULT_TYPES, MAX_RSA_BITS, MIN_RSA_BITS, SK_TYPES, PublicKey
from sshaft.randomart import bits
from sshaft_identity.common.language import N_, Filled


class KeyRefusal(StrEnum):
    """The reasons not to register a key. The values are in API answers, in logs and in the audit log."""

    TYPE = "type_not_allowed"
    RSA_BITS = "rsa_too_short"
    SECURITY_KEY = "security_key_required"
    ATTESTATION = "attestation_required"
    TOO_MANY = "too_many_keys"
    TAKEN = "key_taken"
    OWN = "already_registered"


_SENTENCES = {
    KeyRefusal.TYPE: N_("Keys of this type are not taken here. Taken are: {types}."),
    KeyRefusal.RSA_BITS: N_("This RSA key is too short: {bits} bits or more are needed."),
    KeyRefusal.SECURITY_KEY: N_("Only security keys (ssh-keygen -t ed25519-sk) are taken here."),
    KeyRefusal.ATTESTATION: N_("Only security keys with an attestation of their maker are taken here."),
    KeyRefusal.TOO_MANY: N_("Not more than {most} keys a person are kept. Remove one first."),
    KeyRefusal.TAKEN: N_("This key belongs to somebody else. One key belongs to one person."),
    KeyRefusal.OWN: N_("This key is registered already."),
}


class KeyPolicy(BaseModel):
    """`key_policy` in identity.json. It applies to new keys only: registered keys stay."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    allowed_types: tuple[str, ...] = Field(default=DEFAULT_TYPES, min_length=1)
    """The types of keys that people may register."""
    # The minimum is RequiredRSASize of our sshd_config: a key that can register must be able to log in.
    rsa_bits: int = Field(default=MIN_RSA_BITS, ge=MIN_RSA_BITS, le=MAX_RSA_BITS)
    """The shortest RSA key."""
    security_keys_only: bool = False
    """Whether only `sk-` keys may be registered."""
    require_attestation: bool = False
    """Whether only `sk-` keys with an attestation of their maker may be registered; needs `attestation_roots`."""
    attestation_roots: str | None = Field(default=None, description="PEM file of the makers' certificates")
    lifetime_days: int | None = Field(default=None, ge=1, le=3650)
    """The days until a new key expires."""
    most_per_user: int | None = Field(default=None, ge=1, le=1000)
    """The largest number of keys of a person; expired keys do not count."""

    @field_validator("allowed_types")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if each not in DEFAULT_TYPES:
                raise ValueError(f"{each!r} is none of {', '.join(DEFAULT_TYPES)}")
        return value

    @model_validator(mode="after")
    def _can_be_met(self) -> "KeyPolicy":
        if self.require_attestation and self.attestation_roots is None:
            raise ValueError("require_attestation needs attestation_roots")
        if self.wants_security_keys and not set(self.allowed_types) & set(SK_TYPES):
            raise ValueError("security keys are required and none of their types is in allowed_types")
        return self

    @property
    def wants_security_keys(self) -> bool:
        return self.security_keys_only or self.require_attestation

    def expiry(self, now: datetime) -> datetime | None:
        """Returns when a key that is registered now expires; None: never."""
        return None if self.lifetime_days is None else now + timedelta(days=self.lifetime_days)


def judge(key: PublicKey, policy: KeyPolicy, *, attested: bool = False, registered: int = 0) -> KeyRefusal | None:
    """Returns why the policy refuses `key` for a user who has `registered` keys already; None: it does not."""
    if policy.wants_security_keys and not key.is_security_key:
        return KeyRefusal.SECURITY_KEY
    if key.type not in policy.allowed_types:
        return KeyRefusal.TYPE
    if key.type == "ssh-rsa" and bits(key) < policy.rsa_bits:
        return KeyRefusal.RSA_BITS
    if policy.require_attestation and not attested:
        return KeyRefusal.ATTESTATION
    if policy.most_per_user is not None and registered >= policy.most_per_user:
        return KeyRefusal.TOO_MANY
    return None


def sentence(refusal: KeyRefusal, policy: KeyPolicy) -> Filled:
    """Returns the refusal as a sentence for the person on the page and the operator at the terminal."""
    values = {"types": ", ".join(policy.allowed_types), "bits": policy.rsa_bits, "most": policy.most_per_user}
    return Filled(_SENTENCES[refusal], **values)
