-- Of a group's topics of one name, the one that was begun last has what the others left: its partitions alone inherit. A
-- claim of an earlier one that comes late (its daemon was frozen, or looked before the topic was recreated) would take
-- back what its heir has, and leave it where nobody reads any more.

-- TY008: the group has begun a later topic of that name. None is begun until the end of the transaction. Called with the
-- partition's lock, and never the other way round: who brings dead letters back has the topic's lock, and waits for who has
-- the partition's.
create function sys.fn_check_newest(group_name text, topic_id uuid) returns void
  language plpgsql
as $$
declare
  name text;
begin
  select own.topic into name
  from sys.consumed_topics as own
  where own.group_name = fn_check_newest.group_name and own.topic_id = fn_check_newest.topic_id;
  -- The lock of fn_begin_topic, shared: takeovers do not wait for each other.
  perform pg_advisory_xact_lock_shared(hashtextextended(fn_check_newest.group_name || '/' || name, 7467));
  if exists (
    select from sys.consumed_topics as own
    join sys.consumed_topics as later
      on later.group_name = own.group_name and later.topic = own.topic and later.begun_at > own.begun_at
    where own.group_name = fn_check_newest.group_name and own.topic_id = fn_check_newest.topic_id
  ) then
    raise exception 'the group has begun a later topic of this name' using errcode = 'TY008';
  end if;
end;
$$;

-- Raises the epoch, whichever topic it is of; TY002.
create function sys.fn_raise(group_name text, topic_id uuid, partition integer, commit_id uuid) returns sys.partition_progress
  language plpgsql
as $$
declare
  last sys.partition_progress;
begin
  perform pg_advisory_xact_lock(sys.fn_partition_lock(fn_raise.group_name, fn_raise.topic_id, fn_raise.partition));
  select progress.* into last
  from sys.partition_progress as progress
  where progress.group_name = fn_raise.group_name
    and progress.topic_id = fn_raise.topic_id
    and progress.partition = fn_raise.partition
  order by progress.seq desc
  limit 1;
  if last is null then
    raise exception 'the partition has no progress row although its topic was begun' using errcode = 'TY002';
  end if;
  last.seq := last.seq + 1;
  last.epoch := last.epoch + 1;
  last.commit_id := fn_raise.commit_id;
  last.committed_at := clock_timestamp();
  insert into sys.partition_progress select last.*;
  return last;
end;
$$;

-- The takeover of a partition, of the newest topic of its name. TY002, TY008.
create or replace function sys.fn_take_over(group_name text, topic_id uuid, partition integer, commit_id uuid) returns sys.partition_progress
  language plpgsql
as $$
declare
  raised sys.partition_progress;
begin
  raised := sys.fn_raise(fn_take_over.group_name, fn_take_over.topic_id, fn_take_over.partition, fn_take_over.commit_id);
  perform sys.fn_check_newest(fn_take_over.group_name, fn_take_over.topic_id);
  return raised;
end;
$$;

-- Takes over what an earlier topic left in one of its partitions: nobody commits there any more, its parked records are
-- the heir's, before all that it has itself, and its breakers nobody's. TY002, TY008.
create function sys.fn_inherit(
  group_name text, old_topic_id uuid, old_partition integer, topic_id uuid, partition integer, commit_id uuid
) returns sys.partition_progress
  language plpgsql
as $$
declare
  raised sys.partition_progress;
begin
  raised := sys.fn_raise(fn_inherit.group_name, fn_inherit.old_topic_id, fn_inherit.old_partition, fn_inherit.commit_id);
  perform sys.fn_check_newest(fn_inherit.group_name, fn_inherit.topic_id);
  perform sys.fn_adopt_parked(
    fn_inherit.group_name, fn_inherit.old_topic_id, fn_inherit.old_partition, fn_inherit.topic_id, fn_inherit.partition
  );
  delete from sys.circuit_breaker_state as known
  where known.group_name = fn_inherit.group_name
    and known.topic_id = fn_inherit.old_topic_id
    and known.partition = fn_inherit.old_partition;
  return raised;
end;
$$;

-- As before; and what is begun for the first time comes after all others of its name, also by a clock that was put back.
create or replace function sys.fn_begin_topic(
  group_name text, topic text, topic_id uuid, cluster_id text, partition_count integer, commit_id uuid,
  partitions integer[], positions bigint[]
) returns void
  language plpgsql
as $$
declare
  others timestamptz;
begin
  perform pg_advisory_xact_lock(hashtextextended(fn_begin_topic.group_name || '/' || fn_begin_topic.topic, 7467));
  insert into sys.partition_progress (group_name, topic_id, partition, epoch, seq, commit_id, watermark, kafka_offset)
  select fn_begin_topic.group_name, fn_begin_topic.topic_id, starts.partition, 0, 0, fn_begin_topic.commit_id, starts.position, -1
  from unnest(fn_begin_topic.partitions, fn_begin_topic.positions) as starts (partition, position)
  where not exists (
    select from sys.partition_progress as known
    where known.group_name = fn_begin_topic.group_name
      and known.topic_id = fn_begin_topic.topic_id
      and known.partition = starts.partition
  );
  select max(other.begun_at) into others
  from sys.consumed_topics as other
  where other.group_name = fn_begin_topic.group_name
    and other.topic = fn_begin_topic.topic
    and other.topic_id <> fn_begin_topic.topic_id;
  insert into sys.consumed_topics as known (group_name, topic, topic_id, cluster_id, partitions, begun_at)
  values (
    fn_begin_topic.group_name, fn_begin_topic.topic, fn_begin_topic.topic_id, fn_begin_topic.cluster_id,
    fn_begin_topic.partition_count, greatest(clock_timestamp(), others + interval '1 microsecond')
  )
  on conflict on constraint consumed_topics_pkey do update
  set partitions = greatest(known.partitions, excluded.partitions);
end;
$$;

-- It is the newest of its name after all: an earlier one was begun after it, by a daemon whose broker lagged.
create function sys.fn_begin_again(group_name text, topic text, topic_id uuid) returns void
  language plpgsql
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(fn_begin_again.group_name || '/' || fn_begin_again.topic, 7467));
  update sys.consumed_topics as own
  set begun_at = greatest(clock_timestamp(), (
    select max(other.begun_at) + interval '1 microsecond'
    from sys.consumed_topics as other
    where other.group_name = fn_begin_again.group_name and other.topic = fn_begin_again.topic
  ))
  where own.group_name = fn_begin_again.group_name and own.topic_id = fn_begin_again.topic_id;
end;
$$;
