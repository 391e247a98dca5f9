-- Everything that runs by itself, at the intervals in force. Applied again whenever one of them changes.
SELECT set_chunk_time_interval('scada_readings', INTERVAL :'chunk_interval');

SELECT remove_compression_policy('scada_readings', if_exists => true);
SELECT add_compression_policy('scada_readings', INTERVAL :'compress_after');

SELECT remove_retention_policy('scada_readings', if_exists => true);
SELECT add_retention_policy('scada_readings', INTERVAL :'retention');

-- The windows reach back nearly as far as the raw readings do, because a backlog or a history read may arrive months
-- late; only buckets that changed are computed. They end before the retention's edge, so that a dropped chunk never
-- empties a bucket.
SELECT remove_continuous_aggregate_policy('scada_readings_hourly', if_exists => true);
SELECT add_continuous_aggregate_policy('scada_readings_hourly',
    start_offset => INTERVAL :'hourly_window', end_offset => INTERVAL '1 hour',
    schedule_interval => INTERVAL :'hourly_refresh');

SELECT remove_continuous_aggregate_policy('scada_readings_daily', if_exists => true);
SELECT add_continuous_aggregate_policy('scada_readings_daily',
    start_offset => INTERVAL :'daily_window', end_offset => INTERVAL '1 day',
    schedule_interval => INTERVAL :'daily_refresh');

SELECT remove_continuous_aggregate_policy('scada_readings_monthly', if_exists => true);
SELECT add_continuous_aggregate_policy('scada_readings_monthly',
    start_offset => INTERVAL :'monthly_window', end_offset => INTERVAL '1 month',
    schedule_interval => INTERVAL :'monthly_refresh');
