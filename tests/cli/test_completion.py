"""What a shell is offered for the names of studies, plans and models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.shell_completion import ShellComplete

from autotune.cli.main import main

if TYPE_CHECKING:
    from tests.conftest import Cli


def offered(words: list[str], incomplete: str = "") -> list[str]:
    assert isinstance(main, click.Command)
    found = ShellComplete(main, {}, "lora-autotune", "_LORA_AUTOTUNE_COMPLETE").get_completions(words, incomplete)
    return [item.value for item in found]


def test_studies_of_the_storage(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    name = cli.ok("study create --backend replay", cli.SHRINK).strip()
    monkeypatch.delenv("AUTOTUNE_STORAGE", raising=False)
    for command in ("show", "run", "delete", "export", "report", "list", "best"):
        assert offered(["study", command, "--storage", cli.url], "lora_") == [name]
    monkeypatch.setenv("AUTOTUNE_STORAGE", cli.url)
    assert offered(["study", "show"], "lora_shrink") == [name]
    assert offered(["study", "show"], "csgmv") == []


def test_a_storage_that_cannot_be_opened_offers_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOTUNE_STORAGE", f"sqlite:///{tmp_path}/none.db")
    assert offered(["study", "show"]) == []
    assert offered(["study", "run", "--plan"]) == []


def test_plans_of_the_storage(cli: Cli) -> None:
    plan = "--plan Qwen3-Embedding-0.6B --runtime sglang --lora-rank 64 --max-loras 1 --chunk-sizes 16 --dtype float16"
    cli.ok("study create --backend replay", plan)
    (name,) = offered(["study", "run", "--storage", cli.url, "--plan"])
    assert name.startswith("Qwen3-Embedding-0.6B")


def test_models_are_presets_and_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Qwen-mine").mkdir()
    (tmp_path / "Qwen-mine" / "config.json").write_text("{}")
    for words in (["plan"], ["tune", "--model"], ["bench", "serve"]):
        found = offered(words, "Qwen")
        assert "Qwen3-8B" in found
        assert "Qwen-mine" in found
