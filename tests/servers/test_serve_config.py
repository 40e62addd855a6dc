"""The YAML file of a server's flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune import servers
from autotune.errors import InputError
from autotune.servers.serve_config import words


def written(folder: Path, text: str) -> Path:
    file = folder / "server.yaml"
    file.write_text(text)
    return file


def test_flags_are_the_words_that_they_would_be(tmp_path: Path) -> None:
    file = written(tmp_path, "a: 1\nb_c: [x, y]\nd: true\ne: false\nf:\n  g: {h: 2}\n")
    assert words(file) == ["--a", "1", "--b_c", "x", "y", "--d", "--f", '{"g": {"h": 2}}']


@pytest.mark.parametrize("place", ["M --config {}", "M --config={} --max-loras 4", "--max-loras 4 --config {}"])
def test_the_commands_own_flags_count_more_than_the_files(tmp_path: Path, place: str) -> None:
    file = written(tmp_path, "model: N\nmax-loras: 2\nmax-lora-rank: 64\n")
    said = servers.read_serve_command(f"vllm serve {place.format(file)}").said
    assert said["model"][0] == ("M" if place.startswith("M") else "N")
    assert said["max_loras"][0] == (4 if "--max-loras" in place else 2)
    assert said["lora_rank"][0] == 64


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n", "no mapping"),
        ("", "no mapping"),
        ("a: [", "server.yaml"),
        ("a: &x [1]\nb: *x\n", "alias"),
        ("a: !!python/object/apply:os.system ['true']\n", "server.yaml"),
        ("[" * 5000, "server.yaml: nested more than 32 levels"),
        ("a: " + "[" * 32 + "]" * 32, "server.yaml: nested more than 32 levels"),
        ("a: " + "x" * (1 << 17), "bytes"),
        ("max-loras: many\n", "--max-loras"),
    ],
)
def test_a_file_that_holds_no_flags_is_refused_in_a_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        servers.read_serve_command(f"vllm serve M --config {written(tmp_path, text)}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"--config: missing\.yaml: No such file"):
        servers.read_serve_command("vllm serve M --config missing.yaml")
    with pytest.raises(InputError, match="--config: no file"):
        servers.read_serve_command("vllm serve M --config")
