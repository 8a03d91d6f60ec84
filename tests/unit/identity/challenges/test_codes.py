from hypothesis import given
from hypothesis import strategies as st

from sshaft_identity.challenges.codes import Codes, attempt_name
from sshaft_identity.common.digests import digest, new_page_token

CODES = Codes(b"1" * 32)
texts = st.text(st.characters(codec="utf-8"))


@given(texts)
def test_a_code_is_six_digits_and_always_the_same_for_its_page(page_token: str) -> None:
    code = CODES.of_page(page_token)
    assert len(code) == 6
    assert code.isascii()
    assert code.isdigit()
    assert code == CODES.of_page(page_token)


def test_another_key_gives_other_codes() -> None:
    tokens = [new_page_token() for _ in range(20)]
    assert [CODES.of_page(t) for t in tokens] != [Codes(b"2" * 32).of_page(t) for t in tokens]


def test_codes_spread_over_the_whole_range() -> None:
    firsts = {CODES.of_page(new_page_token())[0] for _ in range(500)}
    assert firsts == set("0123456789")


def test_page_tokens_hold_128_bits_and_never_repeat() -> None:
    tokens = {new_page_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token) for token in tokens} == {22}


@given(texts, texts)
def test_the_hmac_of_a_code_matches_only_that_code(one: str, other: str) -> None:
    code_hmac = CODES.code_hmac("challenge", one)
    assert CODES.matches("challenge", one, code_hmac)
    assert CODES.matches("challenge", other, code_hmac) == (one == other)


def test_the_hmac_of_a_code_depends_on_the_challenge_and_the_key() -> None:
    assert not CODES.matches("other", "482913", CODES.code_hmac("challenge", "482913"))
    assert not Codes(b"2" * 32).matches("challenge", "482913", CODES.code_hmac("challenge", "482913"))


def test_repr_does_not_show_the_key() -> None:
    assert "1111" not in repr(CODES)


def test_the_name_of_an_attempt_depends_on_its_key_and_code() -> None:
    assert attempt_name(None, "482913") is None
    assert attempt_name("key", "482913") == attempt_name("key", "482913")
    names = {attempt_name("key", "482913"), attempt_name("key", "482914"), attempt_name("other", "482913")}
    assert len(names | {attempt_name("key", None)}) == 4


def test_a_digest_is_sha_256() -> None:
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
