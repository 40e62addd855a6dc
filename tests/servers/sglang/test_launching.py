"""What the built-in kernels are launched with: the entry of the server's folder, read once for a shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.errors import InputError
from autotune.servers.sglang import csgmv, launching
from autotune.servers.sglang.server import SGLANG
from tests.builders.csgmv_files import GPU, OTHER, TUNED, call, write


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The environment of a server with a config folder and Triton 3.6.0, on a GPU named GPU."""
    monkeypatch.setenv("SGLANG_LORA_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr(launching, "device_name", lambda *_: GPU)
    monkeypatch.setattr(csgmv, "installed_version", lambda package: "3.6.0")
    launching.cache_clear()
    yield tmp_path
    launching.cache_clear()


def current(chunk_size: int = 16) -> dict[str, int | None]:
    return launching.lora_config("shrink", K=1024, R=64, S=3, chunk_size=chunk_size)


def test_current_config_is_read_once(server: Path) -> None:
    path = write(server, {"16": TUNED})
    assert current() == TUNED
    path.unlink()
    assert current() == TUNED
    launching.cache_clear()
    assert current() == {"BLOCK_N": 16, "BLOCK_K": 256}


def test_that_there_is_no_file_is_remembered_too(server: Path) -> None:
    assert current() == {"BLOCK_N": 16, "BLOCK_K": 256}
    write(server, {"16": TUNED})
    assert current() == {"BLOCK_N": 16, "BLOCK_K": 256}
    launching.cache_clear()
    assert current() == TUNED


def test_a_file_is_read_once_for_all_chunk_sizes(server: Path) -> None:
    """Contracts B1: the server caches by kernel, K, R and S, so a process never mixes two versions of a file."""
    path = write(server, {"16": TUNED, "32": OTHER})
    assert current(16) == TUNED
    path.unlink()
    assert current(32) == OTHER


def test_that_there_is_no_file_is_remembered_for_all_chunk_sizes(server: Path) -> None:
    assert current(16) == SGLANG.default_config(call())
    write(server, {"16": TUNED, "32": TUNED})
    assert current(32) == SGLANG.default_config(call())


def test_a_malformed_file_is_named_once(server: Path) -> None:
    path = write(server, "{")
    with pytest.raises(InputError) as error:
        current()
    assert str(error.value).count(path.name) == 1


def test_without_the_folder_it_is_the_default(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(server, {"16": TUNED})
    monkeypatch.delenv("SGLANG_LORA_CONFIG_DIR")
    assert current() == {"BLOCK_N": 16, "BLOCK_K": 256}


def test_where_the_server_fails_the_file_is_named(server: Path) -> None:
    write(server, {"note": {}})
    with pytest.raises(InputError, match=r"device=NVIDIA_H20-3e\.json: got key 'note'"):
        current()
