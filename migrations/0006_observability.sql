-- What became of each record, as far as traceability is configured.
create table sys.message_traceability (
  group_name text not null,
  topic text not null,
  partition integer not null,
  record_offset bigint not null,
  tenant_id text not null,
  actor text not null,
  message_id text not null,
  message_type text not null,
  trace_id text not null,
  outcome text not null,
  reason text not null,
  attempts integer not null,
  committed_at timestamptz not null default now()
);

create index message_traceability_by_message on sys.message_traceability (message_id);
create index message_traceability_by_age on sys.message_traceability using brin (committed_at);

-- The offsets that were written to Kafka, with the log's end as it was then.
create table sys.consumer_offsets_log (
  group_name text not null,
  topic text not null,
  partition integer not null,
  committed_offset bigint not null,
  log_end bigint,
  recorded_at timestamptz not null default clock_timestamp()
);

create index consumer_offsets_log_by_partition on sys.consumer_offsets_log (group_name, topic, partition, recorded_at desc);

create function sys.fn_record_consumer_offset(group_name text, topic text, partition integer, committed_offset bigint, log_end bigint default null) returns void
  language sql
begin atomic
  insert into sys.consumer_offsets_log (group_name, topic, partition, committed_offset, log_end)
  values (group_name, topic, partition, committed_offset, log_end);
end;

create view sys.vw_consumer_lag as
select distinct on (offsets.group_name, offsets.topic, offsets.partition)
  offsets.group_name,
  offsets.topic,
  offsets.partition,
  offsets.committed_offset,
  offsets.log_end,
  greatest(offsets.log_end - offsets.committed_offset, 0) as lag_records,
  offsets.recorded_at
from sys.consumer_offsets_log as offsets
order by offsets.group_name, offsets.topic, offsets.partition, offsets.recorded_at desc;

-- Positions passed a minute, by progress: what traceability does not record is counted too.
create view sys.vw_message_throughput as
with steps as (
  select
    progress.group_name,
    progress.topic_id,
    progress.committed_at,
    progress.watermark - lag(progress.watermark, 1, progress.watermark) over (
      partition by progress.group_name, progress.topic_id, progress.partition order by progress.seq
    ) as passed
  from sys.partition_progress as progress
)
select
  steps.group_name,
  topics.topic,
  date_trunc('minute', steps.committed_at) as minute,
  sum(steps.passed)::bigint as messages,
  round(sum(steps.passed) / 60, 1) as messages_per_second
from steps
join sys.consumed_topics as topics using (group_name, topic_id)
group by steps.group_name, topics.topic, date_trunc('minute', steps.committed_at);

-- The topics of RFC-PHOENIX-02 as it defines them.
create table sys.kafka_topics_metadata (
  topic text primary key,
  partitions integer not null,
  retention interval not null,
  replication_factor integer not null,
  min_in_sync_replicas integer not null,
  partition_key text not null,
  updated_at timestamptz not null default now()
);

insert into sys.kafka_topics_metadata (topic, partitions, retention, replication_factor, min_in_sync_replicas, partition_key)
values
  ('core.commands.v1', 12, '7 days', 3, 2, 'tenant_id'),
  ('core.events.v1', 12, '30 days', 3, 2, 'tenant_id'),
  ('sys.deadletter.v1', 6, '30 days', 3, 2, 'tenant_id'),
  ('sys.audit.v1', 12, '90 days', 3, 2, 'trace_id')
on conflict do nothing;

create function sys.fn_trim_traceability(before timestamptz, batch integer) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  deleted integer;
begin
  delete from sys.message_traceability
  where ctid = any (array(select ctid from sys.message_traceability where committed_at < before limit batch));
  get diagnostics deleted = row_count;
  return deleted;
end;
$$;

create function sys.fn_trim_offsets_log(before timestamptz, batch integer) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  deleted integer;
begin
  delete from sys.consumer_offsets_log
  where ctid = any (array(select ctid from sys.consumer_offsets_log where recorded_at < before limit batch));
  get diagnostics deleted = row_count;
  return deleted;
end;
$$;
