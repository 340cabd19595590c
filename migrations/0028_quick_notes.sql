-- A record that runs alone waits until that is written down, but not until it is on the disk, or on a standby: it has to
-- outlive this process, and only costs one more where it does not outlive the server.
create or replace function sys.fn_run_alone(
  group_name text, topic_id uuid, partition integer, epoch bigint, process uuid, origin_topic_id uuid, origin_partition integer,
  record_offset bigint, replays integer
) returns boolean
  language sql
begin atomic
  select set_config('synchronous_commit', 'off', true);
  update sys.partition_owners as owner
  set alone_topic_id = null, alone_partition = null, alone_offset = null, alone_replays = null
  where owner.process = fn_run_alone.process
    and owner.alone_offset is not null
    and (owner.group_name, owner.topic_id, owner.partition) is distinct from (fn_run_alone.group_name, fn_run_alone.topic_id, fn_run_alone.partition);
  with noted as (
    update sys.partition_owners as owner
    set alone_topic_id = fn_run_alone.origin_topic_id, alone_partition = fn_run_alone.origin_partition,
      alone_offset = fn_run_alone.record_offset, alone_replays = fn_run_alone.replays
    where owner.group_name = fn_run_alone.group_name
      and owner.topic_id = fn_run_alone.topic_id
      and owner.partition = fn_run_alone.partition
      and owner.epoch = fn_run_alone.epoch
    returning 1
  )
  select exists (select from noted);
end;
