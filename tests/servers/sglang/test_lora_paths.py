"""What a command that starts SGLang says by the adapters it names: their ranks and modules are the server's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune import servers
from autotune.errors import InputError
from autotune.servers.sglang import lora_paths
from tests.conftest import Cli

COMMAND = "python -m sglang.launch_server --model-path Qwen3-8B --lora-paths"


@pytest.fixture
def adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two adapters: `small` of rank 8 on q and v, `large` of rank 32 on o."""
    for name, rank, modules in (("small", 8, ["q_proj", "v_proj"]), ("large", 32, ["o_proj"])):
        (tmp_path / name).mkdir()
        config = {"r": rank, "lora_alpha": 16, "target_modules": modules, "peft_type": "LORA"}
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    ["small large", "a=small b=large", """'{"lora_name": "a,=", "lora_path": "small", "pinned": true}' large"""],
)
def test_the_adapters_are_read(adapters: Path, words: str) -> None:
    said = servers.read_serve_command(f"{COMMAND} {words}").said
    assert said["lora_paths"][0] == (Path("small"), Path("large"))


def test_their_ranks_and_modules_are_planned(cli: Cli, adapters: Path) -> None:
    out = cli.ok("plan --json --serve-command", Path(f"{COMMAND} a=small b=large --max-loras-per-batch 2"))
    planned = json.loads(out)
    layers = {layer.split()[0] for shape in planned["shapes"] for layer in shape["layers"]}
    assert planned["serving"]["rank"] == 32
    assert layers == {"qkv_proj", "o_proj"}


def test_one_that_is_not_here_is_asked_for(adapters: Path) -> None:
    with pytest.raises(InputError, match=r"got --lora-paths org/adapter, allowed: folders .* add --max-lora-rank"):
        servers.read_serve_command(f"{COMMAND} small a=org/adapter")


def test_one_that_is_not_here_is_left_where_the_command_says_what_it_would(adapters: Path) -> None:
    said = servers.read_serve_command(
        f"{COMMAND} small org/adapter --max-lora-rank 64 --lora-target-modules q_proj o_proj"
    ).said
    assert said["lora_paths"][0] == (Path("small"),)
    assert said["lora_rank"][0] == 64


@pytest.mark.parametrize("words", ["a=", '\'{"lora_path": "small"}\'', "'{\"lora_name\": 1'", "'{{}}'"])
def test_what_names_no_adapter_is_refused(adapters: Path, words: str) -> None:
    with pytest.raises(InputError, match=r"--lora-paths: got .*, allowed: adapters, each as PATH, NAME=PATH or "):
        servers.read_serve_command(f"{COMMAND} {words}")


def test_more_of_them_than_are_loaded_stop_the_server(adapters: Path) -> None:
    few = "--max-loaded-loras 1 --max-loras-per-batch 1"
    with pytest.raises(InputError, match=r"at least the adapters of --lora-paths \(2\)"):
        servers.read_serve_command(f"{COMMAND} small large {few}")


@given(st.lists(st.text("ab/._-", min_size=1), min_size=1), st.data())
def test_every_spelling_gives_the_path(given_paths: list[str], data: st.DataObject) -> None:
    spelled = []
    for path in given_paths:
        spelled.append(
            data.draw(st.sampled_from([path, f"n={path}", json.dumps({"lora_name": "n", "lora_path": path})]))
        )
    assert lora_paths.paths(",".join(spelled)) == tuple(given_paths)
