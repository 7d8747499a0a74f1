"""The journal of `predict`: what counts of what was written, however it ended."""

from pathlib import Path

import pytest

from lightning_codec.callbacks.prediction_journal import Entry, Journal
from lightning_codec.errors import UserError

JOB = {"model": "ab"}


def run(output: Path, rank: int, *entries: Entry, number: int = 0) -> int:
    """Do one run of one process; returns its number."""
    journal = Journal(output)
    number = number or journal.begin(JOB, anew=False)
    journal.open(number, rank)
    for entry in entries:
        journal.note(entry)
    journal.close()
    return number


def known(output: Path, *names: str) -> list[tuple[str, str, int]]:
    return [(entry.name, entry.error, entry.run) for entry in Journal(output).entries(names)]


def test_the_latest_run_counts_and_only_inputs_that_are_asked_for(tmp_path: Path) -> None:
    first = run(tmp_path, 1, Entry("a", "a.lcb", error="one"), Entry("c", "c.lcb"))
    assert run(tmp_path, 0, Entry("b", "b.lcb"), Entry("d", "d.lcb"), number=first) == first
    second = run(tmp_path, 0, Entry("a", "a.lcb", error="two"), Entry("b", "b.lcb", error="late"))
    assert (first, second) == (1, 2)
    assert known(tmp_path, "a", "b", "b1", "b2", "b3", "b4", "d") == [("a", "two", 2), ("b", "late", 2), ("d", "", 1)]


def test_of_two_lines_of_one_run_the_later_one_counts(tmp_path: Path) -> None:
    run(tmp_path, 0, Entry("a", "a.lcb"), Entry("a", "a.lcb", error="not written after all"), Entry("b", "b.lcb"))
    assert known(tmp_path, "a", "b") == [("a", "not written after all", 1), ("b", "", 1)]


def test_a_line_that_was_cut_off_is_none(tmp_path: Path) -> None:
    run(tmp_path, 0, Entry("a", "a.lcb"), Entry("b", "b.lcb"))
    (part,) = (tmp_path / ".predict").glob("*.jsonl")
    part.write_bytes(part.read_bytes()[:-9])
    assert known(tmp_path, "a", "b") == [("a", "", 1)]
    run(tmp_path, 0, Entry("b", "b.lcb"))
    assert known(tmp_path, "a", "b") == [("a", "", 1), ("b", "", 2)]


def test_names_of_any_bytes_come_back(tmp_path: Path) -> None:
    odd = ["a\nb.png", "a,\"b'.png", b"caf\xe9.png".decode(errors="surrogateescape"), "日.png"]
    run(tmp_path, 0, *(Entry(name, f"{name}.lcb") for name in sorted(odd)))
    assert [name for name, _, _ in known(tmp_path, *sorted(odd))] == sorted(odd)


def test_done_is_what_is_there_in_full(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open(journal.begin(JOB, anew=False), 0)
    entry = Entry("a", "sub/a.lcb", bytes=3)
    journal.write(entry, b"abc")
    (written,) = journal.entries(["a"])
    assert written == entry._replace(written=3, run=1)
    assert journal.is_done(written)
    (tmp_path / "sub/a.lcb").write_bytes(b"ab")
    assert not journal.is_done(written)
    (tmp_path / "sub/a.lcb").unlink()
    assert not journal.is_done(written)
    assert not journal.is_done(entry._replace(error="failed"))


def test_a_folder_that_the_machines_do_not_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is another folder here than for process 0"):
        Journal(tmp_path).open(1, 3)


def test_beginning_anew_forgets_and_replaces(tmp_path: Path) -> None:
    run(tmp_path, 0, Entry("a", "a.lcb"))
    journal = Journal(tmp_path)
    number = journal.begin({"model": "cd"}, anew=True)
    journal.close()
    assert (number, known(tmp_path, "a")) == (1, [])
    again = Journal(tmp_path)  # what was begun anew goes on as such
    again.open(again.begin({"model": "cd"}, anew=False), 0)
    assert again.replaces
