"""The recorder's file: whole lines of all processes, and nothing that a server could die of."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from autotune import servers
from autotune.servers.plugin import tracer
from autotune.servers.plugin.tracer import Tracer
from autotune.servers.trace import read
from autotune.servers.trace_line import SeenLookup

OPS = {name: servers.get(name).command_line.ops for name in servers.names()}
SHRINK = SeenLookup(
    "vllm", "0.33.0", "shrink", (("max_loras", 5), ("num_slices", 1), ("k", 64), ("n", 8)), (), "float16", "tokens"
)


def work(path: Path, layers: int) -> None:
    made = Tracer(path, "vllm")
    for step in range(200):
        made.lookup(SHRINK, step + 1, step % layers, is_captured=step < 10)
        made.batch("tokens", step % 7 + 1)
        made.save()


def test_all_processes_append_whole_lines_and_are_merged(tmp_path: Path) -> None:
    """Workers of one layer are the same layers on other GPUs; their batches are the same share of the traffic."""
    path = tmp_path / "trace.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(path, layers)) for layers in (3, 5, 5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = read(path, OPS)
    (lookup,) = found.lookups
    assert found.processes == 3
    assert lookup.launches.layers == 5
    assert lookup.launches.captured == set(range(1, 11))
    assert found.largest == 200
    assert sum(found.batches["tokens"].values()) == 600


def test_saves_come_seldom_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Tracer, "_save_now_and_then", lambda self: None)
    path = tmp_path / "trace.jsonl"
    made = Tracer(path, "vllm")
    made.lookup(SHRINK, 1, 0, is_captured=False)
    for step in range(100_000):
        now[0] = step / 10
        made.batch("tokens", 1)
        made.save_if_due()
    made.save()
    lines = path.read_text().splitlines()
    assert len(lines) < 1300
    assert sum(json.loads(line).get("batches", {}).get("1", 0) for line in lines) == 100_000


def test_a_full_disk_ends_the_recording_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = Tracer(tmp_path / "trace.jsonl", "vllm")
    writes = []

    def full(*_: object) -> int:
        writes.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)

    @made.quietly
    def record() -> None:
        made.batch("tokens", 1)
        made.save()

    record()
    record()
    assert [text for text in caplog.messages if "No space left" in text]
    assert len(writes) == 1


def look_up(made: Tracer, layers: int) -> None:
    for layer in range(layers):
        made.lookup(SHRINK, 1, layer, is_captured=False)
    made.batch("tokens", 1)


def test_a_forked_worker_is_a_process_of_its_own(tmp_path: Path) -> None:
    """Servers fork workers from a process that has loaded the plug-in, and may have looked something up."""
    path = tmp_path / "trace.jsonl"
    made = Tracer(path, "vllm")
    look_up(made, 2)
    context = multiprocessing.get_context("fork")
    for layers in (3, 5):
        worker = context.Process(target=look_up, args=(made, layers))
        worker.start()
        worker.join()
    made.save()
    found = read(path, OPS)
    assert found.processes == 3
    assert [each.launches.layers for each in found.lookups] == [5]
    assert found.batches["tokens"] == {1: 3}, "what it saw before a fork is told once"


def end_at_once(path: Path, ending: str) -> None:
    """A worker that looks something up, and ends before anything is due."""
    tracer.TICK_S = 60.0  # type: ignore[misc]
    if ending == "terminated":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    look_up(Tracer(path, "vllm"), 3)
    if ending == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


@pytest.mark.parametrize("ending", ["returns", "terminated"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_that_ends_in_order_has_saved_all(
    tmp_path: Path, method: Literal["fork", "spawn"], ending: str
) -> None:
    """vLLM's workers raise `SystemExit` when they are terminated. A forked one runs nothing of `atexit`."""
    path = tmp_path / "trace.jsonl"
    context: Any = multiprocessing.get_context(method)
    worker = context.Process(target=end_at_once, args=(path, ending))
    worker.start()
    worker.join()
    found = read(path, OPS)
    assert [each.launches.layers for each in found.lookups] == [3]
    assert found.batches["tokens"] == {1: 1}


def idle(path: Path) -> None:
    """A worker that looks something up, and then waits for requests."""
    tracer.TICK_S = 0.01  # type: ignore[misc]
    look_up(Tracer(path, "vllm"), 3)
    time.sleep(60)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_worker_that_is_killed_has_saved_what_it_saw_before(
    tmp_path: Path, signal_number: int, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    """SGLang kills its schedulers, at the end of every run; nothing more comes after the last request."""
    path = tmp_path / "trace.jsonl"
    worker = multiprocessing.get_context("fork").Process(target=idle, args=(path,))
    worker.start()
    assert worker.pid is not None
    try:
        wait_until(lambda: path.exists() and "batches" in path.read_text())
    finally:
        os.kill(worker.pid, signal_number)
        worker.join()
    found = read(path, OPS)
    assert [each.launches.layers for each in found.lookups] == [3]
    assert found.batches["tokens"] == {1: 1}
