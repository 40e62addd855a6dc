"""Runs scripts in processes forked from one that has loaded torch and Triton, and nothing else: they start at once."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.builders.child import variables

_SERVER = """
import atexit, json, os, sys, traceback
import torch, triton.language

def run(task):
    for stream, file in ((1, task["out"]), (2, task["err"])):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    os.chdir(task["folder"])
    os.environ.clear()
    os.environ.update(task["environment"])
    sys.path[:0] = task["environment"]["PYTHONPATH"].split(os.pathsep)
    sys.stdin.close()
    try:
        exec(compile(task["code"], "<script>", "exec"), {"__name__": "__main__"})
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        atexit._run_exitfuncs()  # As at the end of any process: the fork of one ends without.
        sys.stdout.flush()
        sys.stderr.flush()

for line in sys.stdin:
    if (child := os.fork()) == 0:
        os._exit(run(json.loads(line)))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Starts the process that all are forked from; it ends with this one, which holds its stdin."""
    return subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables()
    )


def run_forked(folder: Path, code: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a script with these variables; what it prints goes through files of a folder."""
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    task = {"code": code, "environment": dict(environment), "folder": str(folder), "out": str(out), "err": str(err)}
    print(json.dumps(task), file=server.stdin, flush=True)
    status = int(server.stdout.readline())
    return subprocess.CompletedProcess(code, status, out.read_text(), err.read_text())
