"""The tables of docs/PROBE.md, made anew from four stories."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tools import load_tool


def rows(page: str, heading: str) -> Iterator[list[str]]:
    """The cells of the first table under a heading, without its title and rule."""
    table = [line for line in page.split(f"## {heading}\n", 1)[1].split("\n## ")[0].splitlines() if line.startswith("|")]
    yield from ([cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:])


@pytest.mark.slow
def test_frames_are_taken_for_what_they_are(tmp_path, monkeypatch):
    tool = load_tool("probe_tables")
    monkeypatch.setattr("sys.argv", ["probe_tables.py", "--stories", "4", "--out", str(tmp_path / "PROBE.md")])
    tool.main()
    page = (tmp_path / "PROBE.md").read_text()
    taken = {name: [int(n) for n in counts] for name, *counts in rows(page, "What frames are")}
    assert set(taken) == set(tool.GIVEN)
    for name, column in zip(tool.GIVEN, (0, 0, 1, 2, 3), strict=True):
        assert sum(taken[name]) == taken[name][column]
    for name, n, right, *_, ceiling in rows(page, "Attributes: true"):
        assert int(n) > 0 and (right == ceiling == "1.000" or name == "position")
    cuts = {name: counts for name, *counts in rows(page, "Cuts")}
    assert cuts and all(counts["kept" not in name] != "0" and counts["kept" in name] == "0" for name, counts in cuts.items())
