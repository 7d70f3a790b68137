"""The model in use: loaded once, swapped while the stream runs, and never a reason to stop.

A thread of its own follows the registry's pointer, so that neither a slow registry nor the loading of a model
delays a batch. Whatever is wrong with a model becomes the text that forecasts carry as `fallback`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spark_jobs.forecast.errors import ModelError
from spark_jobs.forecast.models.features import FEATURES
from spark_jobs.forecast.models.manifest import Manifest
from spark_jobs.forecast.models.registry import Registry
from spark_jobs.forecast.series import BatchModel, Floats

log = logging.getLogger(__name__)

CHECK_S = 5.0
NO_MODEL = "none"
UNTRAINED = (
    "no model is promoted yet; the last value and what each series teaches serve (joule forecast train)"
)


@dataclass(frozen=True, slots=True)
class InUse:
    """The batch model of the moment; without one, `why` says so."""

    model: BatchModel | None = None
    served_horizons_s: frozenset[int] = frozenset()
    why: str | None = UNTRAINED

    @property
    def version(self) -> str:
        """Its name in forecasts."""
        return self.model.version if self.model is not None else NO_MODEL

    def fallback(self, horizon_s: int) -> str | None:
        """Why the forecasts of this horizon do without it, if they do."""
        if self.model is None:
            return self.why
        if horizon_s not in self.model.horizons_s:
            return f"model {self.version} was not trained for this horizon"
        if horizon_s not in self.served_horizons_s:
            return f"model {self.version} does not beat the naive forecast at this horizon"
        return None

    def predict(self, rows: Floats) -> tuple[Mapping[int, Floats], str | None]:
        """Changes per horizon (W), those that serve; and why there are none, if so."""
        if self.model is None:
            return {}, self.why
        if not len(rows):
            return {}, None
        try:
            changes = self.model.predict(rows)
        except Exception as error:  # noqa: BLE001 - a broken model must not stop the stream, whatever it raises
            return {}, f"model {self.version} failed: {str(error).splitlines()[0][:200]}"
        return {h: c for h, c in changes.items() if h in self.served_horizons_s}, None


class Models(threading.Thread):
    """Follows the pointer of a registry; `current` is the model in use."""

    def __init__(
        self,
        registry: Callable[[], Registry],
        cache: Path,
        window_s: int,
        load: Callable[[Path, Manifest], BatchModel],
        stop: threading.Event,
        every_s: float = CHECK_S,
    ) -> None:
        super().__init__(name="models", daemon=True)
        self.current = InUse()
        self._open = registry
        self._cache = cache
        self._window_s = window_s
        self._load = load
        self._asked = stop
        self._every_s = every_s
        self._seen: str | None = None
        self._said: str | None = None

    def run(self) -> None:
        """Look at the pointer until asked to stop."""
        while True:
            self.look()
            if self._asked.wait(self._every_s):
                return

    def look(self) -> None:
        """Follow the pointer once. A registry that is away leaves the model in use where it is."""
        try:
            version = self._open().serving()
        except ModelError as error:
            if self.current.model is None:
                self.current = InUse(why=str(error))
            self._say(str(error), logging.WARNING)
            return
        if version == self._seen and (version is None or self.current.model is not None):
            return
        try:
            self.current = InUse() if version is None else self._fetched(version)
        except ModelError as error:
            self.current = InUse(why=str(error))
            self._say(str(error), logging.WARNING)
            return
        self._seen = version
        self._say(f"the model in use is {self.current.version}")

    def _fetched(self, version: str) -> InUse:
        registry = self._open()
        manifest = registry.manifest(version)
        manifest.check(FEATURES, self._window_s)
        folder = registry.fetch(version, self._cache)
        try:
            model = self._load(folder, manifest)
        except ModelError:
            raise
        except Exception as error:  # the loader is Spark: its errors are of many kinds
            first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ModelError(f"model {version} cannot be loaded: {first}") from error
        return InUse(model, frozenset(manifest.served_horizons_s), None)

    def _say(self, text: str, level: int = logging.INFO) -> None:
        if text != self._said:
            self._said = text
            log.log(level, "forecasts: %s", text)
