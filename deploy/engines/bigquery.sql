-- The store's tables as external tables of BigQuery: nothing is copied, and a new year's object is seen at once.
-- Put the bucket and prefix in place of my-bucket/prices, and run it in a dataset of the bucket's region.
create or replace external table quant_assets.price_history (
    symbol string, date date, open float64, high float64, low float64, close float64, volume int64, dividend float64,
    split_ratio float64, currency string, flags string, fetched_at timestamp
)
with partition columns (exchange string)
options (
    format = 'PARQUET',
    uris = ['gs://my-bucket/prices/price_history/*'],
    hive_partition_uri_prefix = 'gs://my-bucket/prices/price_history'
);

create or replace external table quant_assets.weekly_prices (
    symbol string, week date, first_session date, last_session date, sessions int64, open float64, high float64, low float64,
    close float64, volume float64, dividends float64, split_ratio float64, complete bool
)
with partition columns (exchange string)
options (
    format = 'PARQUET',
    uris = ['gs://my-bucket/prices/weekly_prices/*'],
    hive_partition_uri_prefix = 'gs://my-bucket/prices/weekly_prices'
);
