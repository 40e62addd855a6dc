"""`doctor` says what is here, and for what is missing the line that mends it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import optuna
import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli


def findings(cli: Cli) -> dict[str, dict[str, str]]:
    return {item["what"]: item for item in json.loads(cli.ok("doctor --json"))}


def test_everything_is_looked_at(finished: Cli) -> None:
    found = findings(finished)
    assert {"NVIDIA driver", "GPU", "torch", "triton", "optuna", "sqlalchemy", "storage", "cache"} <= set(found)
    assert found["optuna"]["found"] == optuna.__version__
    assert found["storage"]["found"].endswith("2 studies")
    assert "lora_expand, lora_linear, lora_shrink" in found["kernels (builtin)"]["found"]
    assert "M16_K5120_N16_L4_S1" in found["recorded vllm_shrink"]["found"]
    text = finished.ok("doctor")
    assert all(what in text for what in found)


def test_a_missing_gpu_is_named_with_what_to_do(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.cli.doctor.cuda_available", lambda: False)
    assert "--backend replay" in findings(cli)["GPU"]["fix"]


def test_a_missing_package_is_named_with_its_install_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.cli.doctor.installed_version", lambda package: None)
    found = findings(cli)
    for package in ("torch", "triton", "optuna"):
        assert found[package]["found"] == "not installed"
        assert f"pip install {package}" in found[package]["fix"].replace("'", "")

    assert found["optuna-dashboard"]["found"] == "not installed (optional)"


def test_a_storage_that_is_not_there_is_no_error_and_not_made(cli: Cli) -> None:
    storage = findings(cli)["storage"]
    assert "no such file" in storage["found"]
    assert "study create" in storage["fix"]
    assert not cli.database.exists()


def test_a_storage_that_is_not_ours_is_named(cli: Cli) -> None:
    cli.database.write_text("not a database" * 1000)
    assert "not a SQLite database" in findings(cli)["storage"]["found"]


def test_it_tells_what_a_server_started_here_would_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(cli)["plug-in vllm"]["found"] == "off, since LORA_AUTOTUNE_KERNELS does not ask for it"
    monkeypatch.setenv("LORA_AUTOTUNE_KERNELS", "dense,quick")
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    found = findings(cli)["plug-in vllm"]
    assert found["found"].startswith("vllm runs its own kernels: VLLM_BATCH_INVARIANT is set")
    assert "got 'quick'" in found["fix"]
