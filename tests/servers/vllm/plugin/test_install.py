"""The plug-in in a server's process, over a stand-in of the server's package with the real ops' schemas."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.plugin_process import run

ON = {"LORA_AUTOTUNE_KERNELS": "1"}
FOREIGN = "optuna sklearn scipy click typer sqlalchemy cattrs rich filelock platformdirs pebble safetensors hypothesis"


def test_it_loads_no_package_that_a_server_may_lack(tmp_path: Path) -> None:
    """Nor does a call: a server's environment has torch and Triton, the rest need not be there."""
    script = """
        register()
        Layer.random().run()
        print(json.dumps([own_calls, sorted({name.partition(".")[0] for name in sys.modules})]))
    """
    (own_calls, loaded), _ = run(tmp_path, script, ON)
    assert not own_calls
    assert not set(FOREIGN.split()) & set(loaded)


@pytest.mark.parametrize("environment", [{}, {"LORA_AUTOTUNE_KERNELS": "0"}], ids=["unset", "0"])
def test_it_does_nothing_while_the_switch_is_off(tmp_path: Path, environment: dict[str, str]) -> None:
    script = """
        register()
        Layer.random().run()
        print(json.dumps([own_calls, "autotune.servers.vllm.plugin.override" in sys.modules]))
    """
    found, log = run(tmp_path, script, environment)
    assert found == [["lora_shrink", "lora_expand"], False]
    assert not log


def test_ours_compute_the_same_and_say_so_once_however_often_it_is_registered(tmp_path: Path) -> None:
    script = """
        theirs = Layer.random().run()
        before = list(own_calls)
        for _ in range(3):
            register()
        ours = Layer.random().run()
        print(json.dumps([before == own_calls, ours.equals(theirs)]))
    """
    found, log = run(tmp_path, script, ON)
    assert found == [True, True]
    (line,) = log
    assert "vllm's lora_shrink, lora_expand run this project's kernels; configs: none" in line
