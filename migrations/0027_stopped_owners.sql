-- A partition that two records in a row have stopped went on by itself, with these records, when its owner was an hour old
-- and its next one came.

-- Takes a partition over for a process, and judges what became of the owner before. One that was moved on by an operator
-- since, or that began more than an hour ago, says nothing; but what two records in a row have stopped stays so until an
-- operator decides. `suspect_limit`: owners that a record may cost.
create or replace function sys.fn_own(group_name text, topic_id uuid, partition integer, commit_id uuid, process uuid, suspect_limit integer) returns sys.partition_progress
  language plpgsql
as $$
declare
  left_by sys.partition_progress;
  taken sys.partition_progress;
  before sys.partition_owners;
  costs integer;
begin
  perform pg_advisory_xact_lock(sys.fn_partition_lock(fn_own.group_name, fn_own.topic_id, fn_own.partition));
  select progress.* into left_by
  from sys.partition_progress as progress
  where progress.group_name = fn_own.group_name
    and progress.topic_id = fn_own.topic_id
    and progress.partition = fn_own.partition
  order by progress.seq desc
  limit 1;
  taken := sys.fn_take_over(fn_own.group_name, fn_own.topic_id, fn_own.partition, fn_own.commit_id);
  select owner.* into before
  from sys.partition_owners as owner
  where owner.group_name = fn_own.group_name
    and owner.topic_id = fn_own.topic_id
    and owner.partition = fn_own.partition;
  if before.epoch is distinct from left_by.epoch
    or (before.given_up < 2 and before.since < clock_timestamp() - interval '1 hour')
  then
    before.lost := 0;
  elsif before.process = fn_own.process then
    -- It lives.
  elsif not before.released and before.alone_offset is not null then
    before.lost := greatest(before.lost + 1, 3);
    insert into sys.suspect_records as known
      (group_name, topic_id, partition, origin_topic_id, origin_partition, record_offset, replays)
    values (
      fn_own.group_name, fn_own.topic_id, fn_own.partition,
      before.alone_topic_id, before.alone_partition, before.alone_offset, before.alone_replays
    )
    on conflict on constraint suspect_records_pkey do update set owners = known.owners + 1
    returning known.owners into costs;
    if costs = fn_own.suspect_limit then
      before.given_up := before.given_up + 1;
    end if;
  elsif left_by.watermark > before.watermark and left_by.committed_at >= before.since + interval '5 seconds' then
    before.lost := 0;
  elsif not before.released then
    before.lost := before.lost + 1;
  end if;
  if before.lost = 0 then
    before.given_up := 0;
    delete from sys.suspect_records as known
    where known.group_name = fn_own.group_name
      and known.topic_id = fn_own.topic_id
      and known.partition = fn_own.partition;
  end if;
  insert into sys.partition_owners as owner (group_name, topic_id, partition, epoch, process, watermark, lost, given_up)
  values (
    fn_own.group_name, fn_own.topic_id, fn_own.partition, taken.epoch, fn_own.process, taken.watermark, before.lost,
    before.given_up
  )
  on conflict on constraint partition_owners_pkey do update
  set epoch = excluded.epoch, process = excluded.process, since = excluded.since, watermark = excluded.watermark,
    released = false, lost = excluded.lost, given_up = excluded.given_up, alone_topic_id = null, alone_partition = null,
    alone_offset = null, alone_replays = null;
  return taken;
end;
$$;
