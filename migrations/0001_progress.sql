create schema if not exists sys;

-- What is done of each partition. Insert-only: the row with the highest seq is the truth, older ones are history. An
-- update in place is at the mercy of any old snapshot in the database (24,000 a second became 112).
create table sys.partition_progress (
  group_name text not null,
  topic_id uuid not null,
  partition integer not null,
  -- Number of the partition's commit; each commit names the one that it follows.
  seq bigint not null,
  -- Number of the partition's ownership; raised by each new owner.
  epoch bigint not null,
  commit_id uuid not null,
  -- Every record below this offset is done.
  watermark bigint not null,
  -- What is done above it.
  ahead int8multirange not null default '{}',
  -- The offset last written to Kafka, -1 where none was.
  kafka_offset bigint not null,
  committed_at timestamptz not null default clock_timestamp(),
  primary key (group_name, topic_id, partition, seq)
);

-- The topics that each group has begun to read, with the partitions known then.
create table sys.consumed_topics (
  group_name text not null,
  topic text not null,
  topic_id uuid not null,
  cluster_id text not null,
  partitions integer not null,
  begun_at timestamptz not null default clock_timestamp(),
  primary key (group_name, topic_id)
);

create index consumed_topics_by_name on sys.consumed_topics (group_name, topic);

create function sys.fn_partition_lock(group_name text, topic_id uuid, partition integer) returns bigint
  language sql immutable parallel safe
  return hashtextextended(group_name || '/' || topic_id::text || '/' || partition::text, 7466);

-- The fence: takes the partitions' locks in one order for everybody, then, in a later statement and so with a newer
-- snapshot, compares each partition's last row with what the commit names. Raises TY001 and lists all that differ
-- (places in the arrays, from 0).
create function sys.fn_fence(groups text[], topic_ids uuid[], partitions integer[], epochs bigint[], seqs bigint[]) returns void
  language plpgsql
as $$
declare
  refused text;
begin
  perform pg_advisory_xact_lock(locks.key)
  from (
    select distinct sys.fn_partition_lock(named.group_name, named.topic_id, named.partition) as key
    from unnest(groups, topic_ids, partitions) as named (group_name, topic_id, partition)
    order by 1
  ) as locks;
  select string_agg((named.place - 1)::text, ',' order by named.place)
  into refused
  from unnest(groups, topic_ids, partitions, epochs, seqs)
    with ordinality as named (group_name, topic_id, partition, epoch, seq, place)
  left join lateral (
    select progress.epoch, progress.seq
    from sys.partition_progress as progress
    where progress.group_name = named.group_name
      and progress.topic_id = named.topic_id
      and progress.partition = named.partition
    order by progress.seq desc
    limit 1
  ) as last on true
  where last.epoch is distinct from named.epoch or last.seq is distinct from named.seq;
  if refused is not null then
    raise exception 'another commit has moved these partitions on' using errcode = 'TY001', detail = refused;
  end if;
end;
$$;

create function sys.fn_record_progress(
  groups text[], topic_ids uuid[], partitions integer[], epochs bigint[], seqs bigint[], commit_id uuid,
  watermarks bigint[], aheads int8multirange[], kafka_offsets bigint[]
) returns void
  language sql
begin atomic
  insert into sys.partition_progress
    (group_name, topic_id, partition, epoch, seq, commit_id, watermark, ahead, kafka_offset)
  select named.group_name, named.topic_id, named.partition, named.epoch, named.seq + 1, fn_record_progress.commit_id,
    named.watermark, named.ahead, named.kafka_offset
  from unnest(groups, topic_ids, partitions, epochs, seqs, watermarks, aheads, kafka_offsets)
    as named (group_name, topic_id, partition, epoch, seq, watermark, ahead, kafka_offset);
end;

-- Raises the epoch: queues for the partition's lock, then reads the last row in a later statement. TY002: there is none.
create function sys.fn_take_over(group_name text, topic_id uuid, partition integer, commit_id uuid) returns sys.partition_progress
  language plpgsql
as $$
declare
  last sys.partition_progress;
begin
  perform pg_advisory_xact_lock(sys.fn_partition_lock(fn_take_over.group_name, fn_take_over.topic_id, fn_take_over.partition));
  select progress.* into last
  from sys.partition_progress as progress
  where progress.group_name = fn_take_over.group_name
    and progress.topic_id = fn_take_over.topic_id
    and progress.partition = fn_take_over.partition
  order by progress.seq desc
  limit 1;
  if last is null then
    raise exception 'the partition has no progress row although its topic was begun' using errcode = 'TY002';
  end if;
  last.seq := last.seq + 1;
  last.epoch := last.epoch + 1;
  last.commit_id := fn_take_over.commit_id;
  last.committed_at := clock_timestamp();
  insert into sys.partition_progress select last.*;
  return last;
end;
$$;

-- Fence and progress in one statement, for commits that ask nothing in between.
create function sys.fn_commit_progress(
  groups text[], topic_ids uuid[], partitions integer[], epochs bigint[], seqs bigint[], commit_id uuid,
  watermarks bigint[], aheads int8multirange[], kafka_offsets bigint[]
) returns void
  language plpgsql
as $$
begin
  perform sys.fn_fence(groups, topic_ids, partitions, epochs, seqs);
  perform sys.fn_record_progress(groups, topic_ids, partitions, epochs, seqs, commit_id, watermarks, aheads, kafka_offsets);
end;
$$;

-- Writes the first rows of a topic that the group begins to read, or of partitions that were added to it. Under a lock of
-- its own, so whoever comes second finds it done.
create function sys.fn_begin_topic(
  group_name text, topic text, topic_id uuid, cluster_id text, partition_count integer, commit_id uuid,
  partitions integer[], positions bigint[]
) returns void
  language plpgsql
as $$
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
  insert into sys.consumed_topics as known (group_name, topic, topic_id, cluster_id, partitions)
  values (fn_begin_topic.group_name, fn_begin_topic.topic, fn_begin_topic.topic_id, fn_begin_topic.cluster_id, fn_begin_topic.partition_count)
  on conflict on constraint consumed_topics_pkey do update
  set partitions = greatest(known.partitions, excluded.partitions);
end;
$$;

-- Who holds the partition's lock in a transaction older than `older_than` is ended (a frozen owner); returns how many.
create function sys.fn_end_lock_holders(group_name text, topic_id uuid, partition integer, older_than interval) returns integer
  language sql
begin atomic
  select count(pg_terminate_backend(locks.pid))::integer
  from pg_locks as locks
  join pg_stat_activity as holder using (pid)
  where locks.locktype = 'advisory'
    and locks.granted
    and locks.objsubid = 1
    and locks.pid <> pg_backend_pid()
    and (locks.classid::bigint << 32 | locks.objid::bigint) = sys.fn_partition_lock(fn_end_lock_holders.group_name, fn_end_lock_holders.topic_id, fn_end_lock_holders.partition)
    and holder.xact_start < clock_timestamp() - older_than;
end;

-- Deletes progress rows older than `before`, never the last of a partition, at most `batch`; returns how many.
create function sys.fn_trim_progress(before timestamptz, batch integer) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  deleted integer;
begin
  delete from sys.partition_progress as old
  using (
    select candidate.group_name, candidate.topic_id, candidate.partition, candidate.seq
    from sys.partition_progress as candidate
    where candidate.committed_at < before
      and exists (
        select from sys.partition_progress as newer
        where newer.group_name = candidate.group_name
          and newer.topic_id = candidate.topic_id
          and newer.partition = candidate.partition
          and newer.seq > candidate.seq
      )
    limit batch
  ) as doomed
  where old.group_name = doomed.group_name
    and old.topic_id = doomed.topic_id
    and old.partition = doomed.partition
    and old.seq = doomed.seq;
  get diagnostics deleted = row_count;
  return deleted;
end;
$$;

-- Raises TY005 when this is no longer the transaction that set the marker: an actor's statement has ended it.
create function sys.fn_check_transaction(commit_id text) returns void
  language plpgsql
as $$
begin
  if current_setting('tenantry.commit', true) is distinct from commit_id then
    raise exception 'a statement of an actor ended the transaction' using errcode = 'TY005';
  end if;
end;
$$;
