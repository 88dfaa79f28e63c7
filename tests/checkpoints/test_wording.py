"""Messages stay short."""

from __future__ import annotations

from napari_medurwkv.checkpoints.wording import listed, quoted, shortened


def test_listed() -> None:
    assert listed(["a", "b"], ", ") == "a, b"
    assert listed([str(i) for i in range(12)], "; ", 3) == "0; 1; 2; and 9 more"


def test_quoted_is_cut() -> None:
    assert quoted("a") == "'a'"
    assert len(quoted("a" * 1000)) == 101
    assert shortened("a" * 1000).endswith("a…")
