"""`python -m quant_assets.replay --sampledata --port 8765 --today 2013-03-01`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from quant_assets.replay.errors import ReplayError
from quant_assets.replay.launch import ReplayConfig, parse_generated, run_as_child, serve


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and serve until interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(prog="quant_assets.replay", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 for any free port")
    parser.add_argument("--now", "--today", help="the clock: a date or a moment; real time when left out")
    parser.add_argument("--sampledata", action="store_true", help="AAPL, FB, GOOG, IBM, MSFT, 2000-2013")
    parser.add_argument(
        "--history", action="append", default=[], metavar="FILE.csv[:yahoo]", help="a CSV history"
    )
    parser.add_argument(
        "--generate",
        action="append",
        default=[],
        metavar="EXCHANGE[:SYMBOLS[:START[:END[:SEED[:THIN[:EVENTS]]]]]]",
    )
    parser.add_argument("--faults", metavar="FILE.json", help="faults in force from the start")
    parser.add_argument("--spells", metavar="FILE.json", help="which symbol stands for which company when")
    parser.add_argument(
        "--exchanges-file", metavar="FILE.yaml", help="further exchanges, as for the platform"
    )
    parser.add_argument("--child-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child_of is not None:
        return run_as_child(args.child_of)
    try:
        config = ReplayConfig(
            port=args.port,
            now=args.now,
            sampledata=args.sampledata,
            history_files=[
                (text.removesuffix(":yahoo"), "yahoo" if text.endswith(":yahoo") else "as_traded")
                for text in args.history
            ],
            generated=[parse_generated(text) for text in args.generate],
            faults_file=args.faults,
            spells_file=args.spells,
            exchanges_file=args.exchanges_file,
        )
        serve(config, on_ready=_announce)
    except ReplayError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _announce(url: str) -> None:
    sys.stderr.write(f"replaying on {url}\n")


if __name__ == "__main__":
    sys.exit(main())
