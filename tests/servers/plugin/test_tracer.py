"""The recorder's file: whole lines of all processes, and nothing that a server could die of."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

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
    monkeypatch.setattr(tracer.time, "monotonic", lambda: now[0])
    path = tmp_path / "trace.jsonl"
    made = Tracer(path, "vllm")
    made.lookup(SHRINK, 1, 0, is_captured=False)
    for step in range(100_000):
        now[0] = step / 10
        made.batch("tokens", 1)
    made.save()
    lines = path.read_text().splitlines()
    assert len(lines) < 1200
    assert sum(json.loads(line).get("batches", {}).get("1", 0) for line in lines) == 100_000


def test_a_full_disk_ends_the_recording_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = Tracer(tmp_path / "trace.jsonl", "vllm")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tracer.os, "write", full)
    record = made.quietly(lambda: (made.batch("tokens", 1), made.save()))  # type: ignore[arg-type]
    record()
    record()
    assert [text for text in caplog.messages if "No space left" in text]
    assert made._batches["tokens"] == {1: 1}


def test_a_forked_worker_is_a_process_of_its_own(tmp_path: Path) -> None:
    """Servers fork workers from a process that has loaded the plug-in."""
    path = tmp_path / "trace.jsonl"
    made = Tracer(path, "vllm")

    def look_up(layers: int) -> None:
        for layer in range(layers):
            made.lookup(SHRINK, 1, layer, is_captured=False)
        made.save()

    context = multiprocessing.get_context("fork")
    for layers in (3, 5):
        worker = context.Process(target=look_up, args=(layers,))
        worker.start()
        worker.join()
    found = read(path, OPS)
    assert found.processes == 2
    assert [each.launches.layers for each in found.lookups] == [5]
