"""Registers the bundles of `quant-assets export --to zipline` with zipline-reloaded: one for each exchange.

    ZIPLINE_ROOT=<this folder> zipline ingest -b quant-assets-us
    zipline -e <this folder>/extension.py ingest -b quant-assets-us     # with a root of your own

Bars are as traded, and a session without one has no price (NaN). Splits and dividends are zipline's adjustments. A
dividend is paid on its ex-date: a store knows no date of payment.
"""

import inspect
import logging
from pathlib import Path

import pandas as pd
from zipline.data.bundles import register

log = logging.getLogger("quant_assets.zipline")
# zipline executes this text without a name of its own file.
HERE = Path(inspect.currentframe().f_code.co_filename).absolute().parent
ASSETS = pd.read_csv(
    HERE / "assets.csv",
    parse_dates=["first", "last"],
    keep_default_na=False,
    dtype={"symbol": str},
)


def read_rows(file):
    return pd.read_csv(
        HERE.joinpath(*file.split("/")),
        parse_dates=["date"],
        index_col="date",
        float_precision="round_trip",
    )


def ratio_unseen(day, amount, rows, closes, calendar):
    """What a dividend takes off earlier prices, where zipline does not see it: None where it does.

    It takes the amount off the close of the session before. Where that has none, it takes nothing off: then the last
    close before is what counts, and the ratio is given as what zipline calls a merger.
    """
    session = day if calendar.is_session(day) else calendar.date_to_session(day, direction="next")
    before = rows.index[(rows.index < day) & rows["close"].notna()]
    if not len(before) or closes.get(calendar.previous_session(session), 0):
        return None
    since = rows["split_ratio"][(rows.index > before[-1]) & (rows.index <= day)]
    return 1 - amount * since.prod() / rows["close"][before[-1]]


def bundle_of(code):
    def ingest(
        environ,
        asset_db_writer,
        minute_bar_writer,
        daily_bar_writer,
        adjustment_writer,
        calendar,
        start_session,
        end_session,
        cache,
        show_progress,
        output_dir,
    ):
        assets = ASSETS[ASSETS["exchange"] == code].reset_index(drop=True)
        dividends, splits, unseen, spans = [], [], [], {}

        def bars():
            for asset in assets.itertuples():
                rows = read_rows(asset.file)
                # zipline has a row for each session of its calendar from the first bar to the last, and no other.
                sessions = calendar.sessions_in_range(asset.first, asset.last)
                traded = rows[rows["close"].notna()]
                own = traded.reindex(sessions)
                if lost := traded.index.difference(sessions).size:
                    log.warning(
                        "%s: %s bars are on no session of %s: left out", asset.symbol, lost, calendar.name
                    )
                own = own[["open", "high", "low", "close", "volume"]].fillna(0)
                spans[asset.sid] = (own.index[0], own.index[-1])
                paid = rows[rows["dividend"] > 0]
                dividends.extend((asset.sid, day, amount) for day, amount in paid["dividend"].items())
                for day, amount in paid["dividend"].items():
                    if ratio := ratio_unseen(day, amount, rows, own["close"], calendar):
                        unseen.append((asset.sid, day, ratio))
                split = rows[rows["split_ratio"] != 1]
                splits.extend((asset.sid, day, 1 / ratio) for day, ratio in split["split_ratio"].items())
                yield asset.sid, own

        daily_bar_writer.write(bars(), show_progress=show_progress)
        equities = assets.set_index("sid")[["symbol", "exchange"]].assign(
            asset_name=assets.set_index("sid")["name"]
        )
        equities["start_date"] = [spans[sid][0] for sid in equities.index]
        equities["end_date"] = [spans[sid][1] for sid in equities.index]
        equities["auto_close_date"] = equities["end_date"] + pd.Timedelta(days=1)
        exchanges = assets[["exchange", "country"]].drop_duplicates()
        exchanges = exchanges.rename(columns={"country": "country_code"}).assign(canonical_name=code)
        asset_db_writer.write(equities=equities, exchanges=exchanges)
        paid_frame = pd.DataFrame(dividends, columns=["sid", "ex_date", "amount"])
        for name in ("pay_date", "record_date", "declared_date"):
            paid_frame[name] = paid_frame["ex_date"]
        types = {"sid": "int64", "effective_date": "datetime64[ns]", "ratio": "float64"}
        adjustment_writer.write(
            splits=pd.DataFrame(splits, columns=list(types)).astype(types),
            mergers=pd.DataFrame(unseen, columns=list(types)).astype(types),
            dividends=paid_frame.astype(
                {
                    "sid": "int64",
                    "amount": "float64",
                    **dict.fromkeys(
                        ["ex_date", "pay_date", "record_date", "declared_date"], "datetime64[ns]"
                    ),
                }
            ),
        )

    return ingest


for _code, _of_one in ASSETS.groupby("exchange"):
    _calendar = _of_one["calendar"].iloc[0]
    register(
        f"quant-assets-{_code.lower()}",
        bundle_of(_code),
        calendar_name=_calendar,
        start_session=_of_one["first"].min(),
        end_session=_of_one["last"].max(),
    )
