-- Closes of every symbol as traded, split-adjusted and with dividends, as `prices(adjust=…)` gives them, from the table
-- price_history. Runs on DuckDB and Spark. A later dividend takes the factor 1 - D / C_prev, Yahoo's convention: C_prev is the
-- close before the ex-date, on the share basis of the ex-date. A dividend that is in doubt (null) is not applied.
with days as (
    select
        exchange, symbol, date, close, dividend, split_ratio,
        max_by(close, case when close is not null then date end) over (
            partition by exchange, symbol order by date rows between unbounded preceding and 1 preceding
        ) as before
    from price_history
),
steps as (
    select
        exchange, symbol, date, close,
        ln(split_ratio) as split_step,
        case when dividend > 0 and before is not null then ln(1 - dividend * split_ratio / before) else 0 end as paid_step
    from days
)
select
    exchange, symbol, date, close,
    close * exp(-coalesce(sum(split_step) over later, 0)) as split_adjusted,
    close * exp(coalesce(sum(paid_step) over later, 0) - coalesce(sum(split_step) over later, 0)) as total_return
from steps
window later as (partition by exchange, symbol order by date rows between 1 following and unbounded following)
