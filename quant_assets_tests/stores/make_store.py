"""Makes the store of one release that the tests of later ones open: run it with that release's code on PYTHONPATH.

    git worktree add ../release COMMIT
    PYTHONPATH=../release python quant_assets_tests/stores/make_store.py FOLDER

Two exchanges over a New Year: complete, partial and closed cells, failed ones with and without rows, a quarantined
bar, and a restatement of a December cell found in January; all by the command line and the replay server.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

from typer.testing import CliRunner

from quant_assets.replay.launch import GeneratedExchange, ReplayConfig, start

FIRST, LAST, NEXT = "2012-12-24", "2013-01-08", "2013-01-09"
US = ("AAPL", "IBM", "MSFT")
ASX = GeneratedExchange("ASX", symbols=10, seed=7, start=date(2012, 1, 3), end=date(2013, 3, 1))


def missing(symbol: str, day: str) -> dict[str, object]:
    return {"kind": "missing_session", "symbol": symbol, "date": day, "times": None}


def main(target: Path) -> None:
    from quant_assets.cli import app  # a module in the first release, a package later

    app = getattr(app, "app", app)
    evening = datetime(2013, 1, 8, 23, tzinfo=UTC)
    with (
        tempfile.TemporaryDirectory() as home,
        start(ReplayConfig(sampledata=True, generated=[ASX], now=evening)) as market,
    ):
        names = sorted(row["symbol"] for row in market.catalog() if row["symbol"].endswith(".AX"))[:3]
        universe = Path(home, "universe.yaml")
        universe.write_text(f"US: [{', '.join(US)}]\nASX: [{', '.join(names)}]\n")
        os.environ["DAGSTER_HOME"] = home

        def run(now: str, *arguments: str) -> None:
            settings = {
                "HOME": home, "EXCHANGES": "US,ASX", "UNIVERSE": str(universe), "SOURCE_URL": market.url,
                "REQUESTS_PER_SECOND": "0", "START": "2012-01-02", "MIN_COVERAGE": "50", "NOW": now,
            }  # fmt: skip
            os.environ |= {f"QUANT_ASSETS_{name}": value for name, value in settings.items()}
            market.set_clock(now)
            result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
            print(arguments, result.exit_code, result.output.strip().splitlines()[-1:])

        market.add_faults(
            missing("AAPL", "2012-12-27"),
            missing("AAPL", "2012-12-28"),
            missing("IBM", "2012-12-28"),
            *(missing(symbol, "2013-01-04") for symbol in US),
            missing(names[0], "2013-01-03"),
            {"kind": "corrected_bar", "symbol": "MSFT", "date": "2013-01-02", "field": "high", "value": 1.0},
        )
        for code in ("US", "ASX"):
            run("2013-01-08T23:00:00Z", "backfill", "--exchange", code, "--start", FIRST, "--end", LAST)
        market.add_faults(
            {"kind": "corrected_bar", "symbol": "IBM", "date": "2012-12-31", "field": "close", "value": 190.0}
        )
        run("2013-01-09T23:00:00Z", "update-daily", "--date", NEXT)
        run("2013-01-09T23:00:00Z", "show-manifest")
        ignore = shutil.ignore_patterns(".*")
        shutil.copytree(Path(home, "store"), target, ignore=ignore, dirs_exist_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
