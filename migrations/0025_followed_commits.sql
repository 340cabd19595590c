-- A commit names, for each of its partitions, the commit that it follows, by its id. Epoch and seq would not do: a failover
-- to a standby that lacks the last commits gives the same numbers out again, to other commits.
drop function sys.fn_commit_progress(text[], uuid[], integer[], bigint[], bigint[], uuid, bigint[], int8multirange[], bigint[]);
drop function sys.fn_delete_outbox(text, uuid, integer, bigint, bigint, bigint, integer);
drop function sys.fn_accept_offset(text, text, uuid, integer, bigint, bigint, bigint);
drop function sys.fn_fence(text[], uuid[], integer[], bigint[], bigint[]);

-- The fence: takes the partitions' locks in one order for everybody, then, in a later statement and so with a newer
-- snapshot, compares each partition's last commit with the one that is named. Raises TY001 and lists all that differ
-- (places in the arrays, from 0).
create function sys.fn_fence(groups text[], topic_ids uuid[], partitions integer[], follows uuid[]) returns void
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
  from unnest(groups, topic_ids, partitions, follows) with ordinality as named (group_name, topic_id, partition, followed, place)
  left join lateral (
    select progress.commit_id
    from sys.partition_progress as progress
    where progress.group_name = named.group_name
      and progress.topic_id = named.topic_id
      and progress.partition = named.partition
    order by progress.seq desc
    limit 1
  ) as last on true
  where last.commit_id is distinct from named.followed;
  if refused is not null then
    raise exception 'another commit has moved these partitions on' using errcode = 'TY001', detail = refused;
  end if;
end;
$$;

-- Fence and progress in one statement, for commits that ask nothing in between.
create function sys.fn_commit_progress(
  groups text[], topic_ids uuid[], partitions integer[], follows uuid[], epochs bigint[], seqs bigint[], commit_id uuid,
  watermarks bigint[], aheads int8multirange[], kafka_offsets bigint[]
) returns void
  language plpgsql
as $$
begin
  perform sys.fn_fence(groups, topic_ids, partitions, follows);
  perform sys.fn_record_progress(groups, topic_ids, partitions, epochs, seqs, commit_id, watermarks, aheads, kafka_offsets);
end;
$$;

-- What was published of a partition of an earlier topic goes, unless somebody else has taken it over since (TY001).
create function sys.fn_delete_outbox(group_name text, topic_id uuid, partition integer, followed uuid, seq bigint, place integer) returns void
  language plpgsql
as $$
begin
  perform sys.fn_fence(
    array[fn_delete_outbox.group_name], array[fn_delete_outbox.topic_id], array[fn_delete_outbox.partition],
    array[fn_delete_outbox.followed]
  );
  delete from sys.outbox as sent
  where sent.group_name = fn_delete_outbox.group_name
    and sent.topic_id = fn_delete_outbox.topic_id
    and sent.partition = fn_delete_outbox.partition
    and (sent.seq, sent.place) <= (fn_delete_outbox.seq, fn_delete_outbox.place);
end;
$$;

-- For a group whose configuration accepts Kafka's offsets: its owner, and nobody else (TY001), moves the partition there.
create function sys.fn_accept_offset(group_name text, topic text, topic_id uuid, partition integer, followed uuid, place bigint) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  mark bigint;
begin
  perform sys.fn_fence(
    array[fn_accept_offset.group_name], array[fn_accept_offset.topic_id], array[fn_accept_offset.partition],
    array[fn_accept_offset.followed]
  );
  select progress.watermark into mark
  from sys.partition_progress as progress
  where progress.group_name = fn_accept_offset.group_name
    and progress.topic_id = fn_accept_offset.topic_id
    and progress.partition = fn_accept_offset.partition
  order by progress.seq desc
  limit 1;
  perform sys.fn_reset_offsets(
    fn_accept_offset.group_name, fn_accept_offset.topic, fn_accept_offset.topic_id, array[fn_accept_offset.partition],
    array[fn_accept_offset.place], array[9223372036854775807], fn_accept_offset.place < mark, false, 'accept',
    gen_random_uuid(), 'configuration', 'onForeignOffset is accept'
  );
end;
$$;

revoke execute on function sys.fn_accept_offset(text, text, uuid, integer, uuid, bigint) from public;

do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('grant execute on function sys.fn_accept_offset(text, text, uuid, integer, uuid, bigint) to %I', name);
    end if;
  end loop;
end;
$$;
