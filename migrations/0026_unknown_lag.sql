-- Where the log's end was not known, neither is the lag: greatest() passes over what is null, and said 0.
create or replace view sys.vw_consumer_lag as
select distinct on (offsets.group_name, offsets.topic, offsets.partition)
  offsets.group_name,
  offsets.topic,
  offsets.partition,
  offsets.committed_offset,
  offsets.log_end,
  case
    when offsets.log_end is not null then greatest(offsets.log_end - offsets.committed_offset, 0)
  end as lag_records,
  offsets.recorded_at
from sys.consumer_offsets_log as offsets
order by offsets.group_name, offsets.topic, offsets.partition, offsets.recorded_at desc;
