"""Whether the shrink of linear layers runs beside the base's product, as a plan asks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.servers.vllm import layer_classes
from tests.builders import served_vllm


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs a stand-in whose layers are known; returns the file that they are in."""
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path))
    monkeypatch.setattr(layer_classes, "KNOWN", served_vllm.layer_hashes())
    return tmp_path.joinpath(*layer_classes.MODULE.split(".")).with_suffix(".py")


@pytest.mark.parametrize(("value", "expected"), [("0", False), ("1", True), ("", True)])
@pytest.mark.usefixtures("file")
def test_the_switch_decides_of_known_layers(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv(layer_classes.SWITCH, value)
    assert layer_classes.is_expected() is expected


def test_layers_that_are_not_as_known_do_not(file: Path) -> None:
    source = file.read_text()
    assert layer_classes.is_expected()
    for changed in (
        source.replace("return self._apply_lora_to_output(", "return +self._apply_lora_to_output("),
        source.replace(f"def {layer_classes.AFTER}", "def renamed"),
        source.replace(f"class {layer_classes.BASE}", "class Renamed"),
        "class",
    ):
        assert changed != source
        file.write_text(changed)
        assert not layer_classes.is_expected()
    file.unlink()
    assert not layer_classes.is_expected()


def test_without_a_server_a_known_release_is_meant() -> None:
    assert layer_classes.is_expected()
