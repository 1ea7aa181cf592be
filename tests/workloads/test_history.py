"""Histories as JSON lines."""

from __future__ import annotations

from pathlib import Path

from tests.workloads.history import Outcome, Recorder, load, read, write


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "n1.jsonl")
    first = recorder.invoke("n1-0", "n1", "bank", "transfer", [1, 2, 5])
    second = recorder.invoke("n1-1", "n1", "bank", "read", None)
    recorder.end("n1-1", second, Outcome.OK, result=[10, 10])
    recorder.end("n1-0", first, Outcome.FAIL, error="TransactionConflict: too late")
    recorder.close()
    transfer, balances = read([tmp_path / "n1.jsonl"])
    assert (transfer.process, transfer.action, transfer.argument) == ("n1-0", "transfer", [1, 2, 5])
    assert transfer.failed
    assert balances.ok
    assert balances.result == [10, 10]
    assert transfer.called <= balances.called <= balances.returned <= transfer.returned


def test_what_never_returned_is_of_unknown_outcome(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "n1.jsonl")
    recorder.invoke("n1-0", "n1", "set", "add", 7)
    recorder.close()
    (operation,) = read([tmp_path / "n1.jsonl"])
    assert operation.outcome is Outcome.UNKNOWN
    assert operation.returned is None
    assert "unknown" in str(operation)


def test_a_line_that_is_not_whole_is_none(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "n1.jsonl")
    number = recorder.invoke("n1-0", "n1", "set", "add", 7)
    recorder.end("n1-0", number, Outcome.OK)
    recorder.close()
    text = (tmp_path / "n1.jsonl").read_text()
    (tmp_path / "n1.jsonl").write_text(text[:-5])
    (operation,) = read([tmp_path / "n1.jsonl"])
    assert operation.outcome is Outcome.UNKNOWN


def test_operations_of_several_files_are_in_the_order_of_their_calls(tmp_path: Path) -> None:
    recorders = [Recorder(tmp_path / f"{n}.jsonl") for n in range(2)]
    for n in range(6):
        recorders[n % 2].invoke(f"p{n}", "n1", "set", "add", n)
    for recorder in recorders:
        recorder.close()
    operations = read([tmp_path / "1.jsonl", tmp_path / "0.jsonl"])
    assert [operation.argument for operation in operations] == list(range(6))
    write(tmp_path / "kept.jsonl", operations)
    assert load(tmp_path / "kept.jsonl") == operations
