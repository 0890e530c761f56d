"""On the path of a test's Dagster: its daemon evaluates backfills every two seconds.

Dagster 1.13.27 does so every 30 seconds, a constant without a setting: a backfill of one cell takes a minute, most of
it waiting.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

SECONDS = 2


class _QuickDaemon(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "dagster._daemon.controller":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.loader is not None
        original = spec.loader.exec_module

        def execute(module: ModuleType) -> None:
            original(module)
            assert hasattr(module, "DEFAULT_DAEMON_INTERVAL_SECONDS")
            vars(module)["DEFAULT_DAEMON_INTERVAL_SECONDS"] = SECONDS

        vars(spec.loader)["exec_module"] = execute
        return spec


sys.meta_path.insert(0, _QuickDaemon())
