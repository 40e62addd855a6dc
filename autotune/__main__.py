"""Runs the command line, as ``python -m autotune`` or as the installed script ``lora-autotune``."""

from __future__ import annotations

import sys

try:
    from autotune.cli import collecting, stopping, streams
except KeyboardInterrupt:  # Nothing listens yet: Python would print a traceback.
    raise SystemExit(130) from None


def main() -> None:
    """Runs a command; a signal ends it in order from its first moment to its last."""
    stopping.listen()
    try:
        _run()
    except KeyboardInterrupt:  # The command was done already.
        stopping.leave()


def _run() -> None:
    """Runs a command; says in one line what is not installed."""
    collecting.seldom()
    streams.open_closed()
    try:
        from autotune.cli.main import main as command

        command(prog_name="lora-autotune" if sys.argv[0].endswith("lora-autotune") else "python -m autotune")
    except SystemExit as end:
        if not end.code:
            collecting.never_again()
        sys.exit(stopping.exit_code(end.code) if isinstance(end.code, int) else end.code)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "autotune"):
            raise
        print(
            f"Error: {missing} is not installed here; install lora-autotune with all that it needs: pip install, and "
            "the path of its checkout or its git URL",
            file=sys.stderr,
        )
        sys.exit(2)
    finally:
        stopping.show_cursor()
        streams.drop_unwritten()


if __name__ == "__main__":
    main()
