"""Tests which part of a file a request gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft_web.files.ranges import Part, Version, wanted_part

VALIDATORS = {"ETag": '"64-3e8"', "Last-Modified": "Thu, 01 Jan 1970 00:16:40 GMT"}


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-", Part(0, 100)),
        ("bytes=10-19", Part(10, 20)),
        ("bytes=99-99", Part(99, 100)),
        ("bytes=50-5000", Part(50, 100)),
        ("bytes=-10", Part(90, 100)),
        ("bytes=-1000", Part(0, 100)),
        (" bytes=1-2 ", Part(1, 3)),
    ],
)
def test_one_range_is_sent(header: str, part: Part) -> None:
    assert wanted_part(header, None, 100, VALIDATORS) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=9999999999999999999-", "bytes=-0"])
def test_a_range_after_the_end_is_empty(header: str) -> None:
    part = wanted_part(header, None, 100, VALIDATORS)
    assert part is not None
    assert part.size == 0


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes=-", "bytes=", "bytes=5-4", "bytes=0-1,5-6", "items=0-1", "bytes=a-b", "bytes=0-1x", "bytes=+1-2",
     "bytes=٣-٤", "bytes=99999999999999999999-", "bytes= 1-2"],
)  # fmt: skip
def test_without_a_usable_range_the_whole_file_is_sent(header: str | None) -> None:
    assert wanted_part(header, None, 100, VALIDATORS) is None


@pytest.mark.parametrize("if_range", VALIDATORS.values())
def test_a_resume_of_the_same_file_gets_the_rest(if_range: str) -> None:
    assert wanted_part("bytes=5-", if_range, 100, VALIDATORS) == Part(5, 100)


@pytest.mark.parametrize("validators", [VALIDATORS, {}])
def test_a_resume_of_a_changed_file_gets_all_of_it(validators: dict[str, str]) -> None:
    assert wanted_part("bytes=5-", '"64-3e7"', 100, validators) is None


@given(st.text(max_size=30), st.integers(0, 2**64))
def test_no_header_leads_outside_the_file(header: str, size: int) -> None:
    part = wanted_part(f"bytes={header}", None, size, {})
    assert part is None or 0 <= part.start <= part.end <= size


def test_a_settled_file_has_validators() -> None:
    assert Version(100, 1000).validators(now=1002) == VALIDATORS


@pytest.mark.parametrize("modified", [None, 1001, 5000])
def test_a_file_that_may_still_change_has_no_validators(modified: int | None) -> None:
    assert Version(100, modified).validators(now=1002) == {}
