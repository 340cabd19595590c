-- The owner of each partition, and what is known of those before it that were lost: whose process ended without having
-- given the partition back. Something among their records may end any process that runs it.
create table sys.partition_owners (
  group_name text not null,
  topic_id uuid not null,
  partition integer not null,
  epoch bigint not null,
  -- One a process.
  process uuid not null,
  since timestamptz not null default clock_timestamp(),
  -- Where it began.
  watermark bigint not null,
  -- It has given the partition back.
  released boolean not null default false,
  -- Owners in a row that were lost soon after they took over, or without having moved the watermark.
  lost integer not null default 0,
  -- The record that it has run alone last, or runs alone now.
  alone_topic_id uuid,
  alone_partition integer,
  alone_offset bigint,
  alone_replays integer,
  -- Records in a row of which each has cost so many owners that it was given up on.
  given_up integer not null default 0,
  primary key (group_name, topic_id, partition)
-- A row is changed for each record that runs alone: in its page, if there is room.
) with (fillfactor = 50);

-- Records that ran alone when an owner was lost.
create table sys.suspect_records (
  group_name text not null,
  topic_id uuid not null,
  partition integer not null,
  -- Where it was read, an earlier topic's perhaps, and how often it was a dead letter that was brought back.
  origin_topic_id uuid not null,
  origin_partition integer not null,
  record_offset bigint not null,
  replays integer not null,
  owners integer not null default 1,
  primary key (group_name, topic_id, partition, origin_topic_id, origin_partition, record_offset, replays)
);

-- Takes a partition over for a process, and judges what became of the owner before. One that was moved on by an operator
-- since, or that began more than an hour ago, says nothing; but what two records in a row have stopped stays so until an
-- operator decides. `suspect_limit`: owners that a record may cost.
create function sys.fn_own(group_name text, topic_id uuid, partition integer, commit_id uuid, process uuid, suspect_limit integer) returns sys.partition_progress
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

-- Who owns these under these epochs gives them back.
create function sys.fn_release(groups text[], topic_ids uuid[], partitions integer[], epochs bigint[]) returns void
  language sql
begin atomic
  update sys.partition_owners as owner
  set released = true
  from unnest(groups, topic_ids, partitions, epochs) as named (group_name, topic_id, partition, epoch)
  where owner.group_name = named.group_name
    and owner.topic_id = named.topic_id
    and owner.partition = named.partition
    and owner.epoch = named.epoch;
end;

-- A record runs alone in its process; nothing that another partition's owner has noted does any more. False: the
-- partition has another owner.
-- It waits until that is written down, but not until it is on the disk, or on a standby: it has to outlive this process,
-- and only costs one more where it does not outlive the server.
create function sys.fn_run_alone(
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

-- Nothing runs alone any more.
create function sys.fn_run_none_alone(process uuid) returns void
  language sql
begin atomic
  update sys.partition_owners as owner
  set alone_topic_id = null, alone_partition = null, alone_offset = null, alone_replays = null
  where owner.process = fn_run_none_alone.process and owner.alone_offset is not null;
end;

-- So many records have run alone and ended that all run together again. It begins anew with that: lost within seconds, it is
-- one owner more, and they run alone.
create function sys.fn_trust(group_name text, topic_id uuid, partition integer, epoch bigint) returns void
  language sql
begin atomic
  update sys.partition_owners as owner
  set lost = 2, given_up = 0, since = clock_timestamp(), alone_topic_id = null, alone_partition = null, alone_offset = null,
    alone_replays = null
  where owner.group_name = fn_trust.group_name
    and owner.topic_id = fn_trust.topic_id
    and owner.partition = fn_trust.partition
    and owner.epoch = fn_trust.epoch;
  delete from sys.suspect_records as known
  where known.group_name = fn_trust.group_name
    and known.topic_id = fn_trust.topic_id
    and known.partition = fn_trust.partition
    and exists (
      select from sys.partition_owners as owner
      where owner.group_name = fn_trust.group_name
        and owner.topic_id = fn_trust.topic_id
        and owner.partition = fn_trust.partition
        and owner.epoch = fn_trust.epoch
    );
end;

do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('grant select, insert, update on sys.partition_owners to %I', name);
      execute format('grant select, insert, update, delete on sys.suspect_records to %I', name);
    end if;
  end loop;
end;
$$;
