"""Draws a key as `ssh-keygen -lv` does, so that a person can compare the page with ssh-keygen."""

from hashlib import sha256

from sshaft.public_key import PublicKey

_WIDTH, _HEIGHT = 17, 9
_SHADES = " .o+=*BOX@%&#/^SE"
_START, _END = len(_SHADES) - 2, len(_SHADES) - 1


def randomart(key: PublicKey) -> tuple[str, ...]:
    """Returns eleven lines of 19 ASCII characters: OpenSSH's `fingerprint_randomart` of the SHA256 fingerprint."""
    field = [[0] * _WIDTH for _ in range(_HEIGHT)]
    x, y = _WIDTH // 2, _HEIGHT // 2
    for byte in sha256(key.blob).digest():
        for shift in (0, 2, 4, 6):
            step = byte >> shift
            x = min(max(x + (1 if step & 1 else -1), 0), _WIDTH - 1)
            y = min(max(y + (1 if step & 2 else -1), 0), _HEIGHT - 1)
            field[y][x] = min(field[y][x] + 1, _START - 1)
    field[_HEIGHT // 2][_WIDTH // 2] = _START
    field[y][x] = _END
    rows = ["|" + "".join(_SHADES[visits] for visits in row) + "|" for row in field]
    return _border(f"[{short_name(key)} {bits(key)}]"), *rows, _border("[SHA256]")


def _border(title: str) -> str:
    before = (_WIDTH - len(title)) // 2
    return f"+{'-' * before}{title}{'-' * (_WIDTH - len(title) - before)}+"


def short_name(key: PublicKey) -> str:
    """Returns OpenSSH's name of the type for people, such as `ED25519` and `ECDSA-SK`."""
    kind = key.type.removeprefix("sk-").removeprefix("ssh-").partition("@")[0].partition("-")[0].upper()
    return kind + ("-SK" if key.is_security_key else "")


def bits(key: PublicKey) -> int:
    """Returns the size that `ssh-keygen -l` shows: 256 for Ed25519, the bits of the curve or of the RSA modulus."""
    if key.type == "ssh-rsa":
        return int.from_bytes(key.fields[-1]).bit_length()
    return {"ecdsa-sha2-nistp384": 384, "ecdsa-sha2-nistp521": 521}.get(key.type, 256)
