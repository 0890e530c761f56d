-- Weekly bars of every symbol, as `weekly_prices` holds them (docs/data-model.md), from the table price_history.
-- Runs on DuckDB and Spark. Weeks from Monday: an exchange whose week begins on another day needs its own week.
with days as (
    select
        exchange, symbol, date, open, high, low, close, cast(volume as double) as volume, dividend, split_ratio,
        cast(date_trunc('week', date) as date) as week,
        -- Ratios of the week's ex-dates still to come: prices before them are on another share basis.
        exp(coalesce(sum(ln(split_ratio)) over (
            partition by exchange, symbol, date_trunc('week', date)
            order by date rows between 1 following and unbounded following
        ), 0)) as later
    from price_history
)
select
    exchange, symbol, week,
    min(date) filter (where close is not null) as first_session,
    max(date) filter (where close is not null) as last_session,
    cast(count(close) as int) as sessions,
    min_by(open / later, date) filter (where close is not null) as open,
    max(high / later) as high,
    min(low / later) as low,
    max_by(close / later, date) filter (where close is not null) as close,
    -- A day that nobody knows leaves its week unknown.
    case when count(volume) = count(*) then sum(volume * later) end as volume,
    case when count(dividend) = count(*) then sum(dividend / later) end as dividends,
    exp(sum(ln(split_ratio))) as split_ratio
from days
group by exchange, symbol, week
having count(close) > 0 or count(dividend) < count(*) or sum(dividend) <> 0 or abs(sum(ln(split_ratio))) > 1e-12
