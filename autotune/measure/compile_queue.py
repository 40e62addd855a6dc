"""Orders the configs of a study for compiling: always what is wanted most now, a pool's worth at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from autotune.contract import Config, ConfigKey, config_key
from autotune.measure.result import Measurement


class CompileQueue:
    """Keeps a pool of compilers busy with what the search wanted last.

    A pool's own queue is first come, first served: what the newest model wants would wait behind what the models before
    it wanted. So no more is handed over than the pool can run.

    Args:
        submit: Hands one config to the pool.
        slots: How many the pool can run at once.
    """

    def __init__(self, submit: Callable[[Config], Future[Measurement]], slots: int) -> None:
        self._submit = submit
        self._slots = slots
        self._waiting: dict[ConfigKey, Config] = {}
        self._submitted: dict[ConfigKey, Future[Measurement]] = {}
        self._running = 0
        self._changed = threading.Condition()

    def want(self, configs: Sequence[Config]) -> None:
        """Compiles these next, the first of them first, and nothing else that still waits.

        What runs goes on: stopping it would cost the pool a process.
        """
        with self._changed:
            self._waiting.clear()
            self._want_first(configs)

    def wait(self, configs: Sequence[Config]) -> list[Config]:
        """Returns those that are compiled; waits only if there is none.

        A measurement is a tenth of a compilation: timing the best that is compiled teaches more than waiting for a
        better one.
        """
        with self._changed:
            self._want_first(configs)
            self._changed.wait_for(lambda: any(map(self._done, configs)))
            return [config for config in configs if self._done(config)]

    def result(self, config: Config) -> Measurement:
        """Waits for what compiling a config gives.

        Raises:
            Exception: As the pool raises, for a compiler that died or ran out of time.
        """
        with self._changed:
            self._want_first([config])
            self._changed.wait_for(lambda: self._done(config))
            future = self._submitted[config_key(config)]
        return future.result()

    def _want_first(self, configs: Sequence[Config]) -> None:
        new = {config_key(config): config for config in configs if config_key(config) not in self._submitted}
        self._waiting = new | {key: config for key, config in self._waiting.items() if key not in new}
        self._feed()

    def _done(self, config: Config) -> bool:
        future = self._submitted.get(config_key(config))
        return future is not None and future.done()

    def _feed(self) -> None:
        while self._waiting and self._running < self._slots:
            key = next(iter(self._waiting))
            try:
                future = self._submit(self._waiting.pop(key))
            except Exception as error:
                # Raised in a thread of the pool it would go unheard, and a waiting caller would never return.
                self._submitted[key] = _failed(error)
                continue
            self._submitted[key] = future
            self._running += 1
            future.add_done_callback(self._on_done)

    def _on_done(self, future: Future[Measurement]) -> None:
        with self._changed:
            self._running -= 1
            self._feed()
            self._changed.notify_all()


def _failed(error: Exception) -> Future[Measurement]:
    future: Future[Measurement] = Future()
    future.set_exception(error)
    return future
