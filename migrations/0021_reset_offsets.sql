-- What operators did, and why. Written by functions alone, which note the login besides the name that was given, and never
-- changed.
create table sys.operator_actions (
  id bigint generated always as identity primary key,
  -- One for all that a command did.
  operation uuid not null,
  at timestamptz not null default clock_timestamp(),
  login text not null default session_user,
  requested_by text not null check (requested_by <> ''),
  action text not null,
  group_name text not null,
  topic text,
  topic_id uuid,
  partition integer,
  from_position bigint,
  to_position bigint,
  -- Whatever else there is to say of such an action.
  facts jsonb not null default '{}',
  reason text not null check (reason <> '')
);

create index operator_actions_by_time on sys.operator_actions (at);

-- What must be remembered of the resets of a partition: one row, as the last one left it.
create table sys.partition_resets (
  group_name text not null,
  topic_id uuid not null,
  partition integer not null,
  -- Records below this offset run again, until the watermark has passed it: a key that is older than this time does not
  -- make them copies.
  rerun_to bigint not null default 0,
  rerun_since timestamptz not null default '-infinity',
  -- Offsets that were passed over: their outcome is that they were skipped.
  skipped int8multirange not null default '{}',
  primary key (group_name, topic_id, partition)
);

-- As above, for a record that was parked when it was to run again.
alter table sys.parked_messages add column rerun_since timestamptz;

comment on column sys.dead_letters.outbox_place is
  'Of a message that Kafka refused: its place in the outbox. Else -1; below that, the record was given up on before its partition was reset, and has run again since, or was lost by Kafka.';

-- Keys that were written before `since` go: their messages run again. One by one, so that each is looked for in its day's
-- partition, whatever the statistics say; in one order, so that two commits at once do not deadlock.
create function sys.fn_remove_old_keys(message_ids uuid[], tenants text[], groups text[], days integer[], since timestamptz[]) returns void
  language plpgsql
as $$
declare
  named record;
begin
  for named in
    select *
    from unnest(message_ids, tenants, groups, days, since) as each (message_id, tenant_id, group_name, day, since)
    order by each.message_id, each.tenant_id, each.group_name
  loop
    delete from sys.request_keys as known
    where known.message_id = named.message_id
      and known.tenant_id = named.tenant_id
      and known.group_name = named.group_name
      and known.day = named.day
      and known.seen_at < named.since;
  end loop;
end;
$$;

-- What a reset did to one partition.
create type sys.partition_move as (
  partition integer,
  -- Its watermark, and where all that was done ended; null where it had no row.
  from_position bigint,
  done_to bigint,
  -- Its watermark now: further on than was asked for, where what follows is done already.
  to_position bigint,
  -- Records below this run again; null: none do.
  rerun_to bigint,
  -- Offsets passed over, those of parked records that were dropped included.
  skipped bigint,
  dropped_parked bigint,
  dropped_retries bigint,
  epoch bigint,
  -- False: it was there already, and nothing was done.
  moved boolean
);

-- Moves partitions: a takeover by nobody, so that whoever has them is fenced and takes them over at the new position.
-- `rerun` goes back: what was done from there on runs again. Without it, it goes on: what lies between is passed over.
-- Rows of parked records and failed attempts that are to run again go; the outbox stays. Kafka's offsets count as not
-- written, so they are written anew, whatever they are. A position at the log's end that is below what was done is that of
-- a log which Kafka has cut off: nothing of it can run again, and other records come at its offsets.
--
-- All or none. TY007 names the partition, its watermark and the position that was asked for, and in the hint why not:
-- `back` or `forward` is the wrong way, `unknown` has no row to run again from.
create function sys.fn_reset_offsets(
  group_name text, topic text, topic_id uuid, partitions integer[], positions bigint[], log_ends bigint[], rerun boolean,
  drop_parked boolean, action text, operation uuid, requested_by text, reason text
) returns setof sys.partition_move
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  target record;
  last sys.partition_progress;
  move sys.partition_move;
  since timestamptz;
  done int8multirange;
  passed int8multirange;
  cut boolean;
  -- What is from the position on has no outcome any more.
  undone boolean;
begin
  perform pg_advisory_xact_lock(locks.key)
  from (
    select distinct sys.fn_partition_lock(fn_reset_offsets.group_name, fn_reset_offsets.topic_id, named.number) as key
    from unnest(fn_reset_offsets.partitions) as named (number)
    order by 1
  ) as locks;
  -- Who brings one of these dead letters back has these locks, too: what it parks is here then, or it comes too late. In
  -- one order, so that the two do not deadlock.
  perform
  from sys.dead_letters as letter
  join unnest(fn_reset_offsets.partitions, fn_reset_offsets.positions) as named (number, place) on named.number = letter.partition
  where letter.group_name = fn_reset_offsets.group_name
    and letter.topic_id = fn_reset_offsets.topic_id
    and letter.outbox_place = -1
    and letter.record_offset >= named.place
  order by letter.id
  for update of letter;
  since := clock_timestamp();
  for target in
    select named.* from unnest(fn_reset_offsets.partitions, fn_reset_offsets.positions, fn_reset_offsets.log_ends) as named (number, place, log_end)
    order by named.number
  loop
    move := row(target.number, null, null, target.place, null, 0, 0, 0, null, true);
    cut := false;
    undone := fn_reset_offsets.rerun;
    passed := '{}';
    select progress.* into last
    from sys.partition_progress as progress
    where progress.group_name = fn_reset_offsets.group_name
      and progress.topic_id = fn_reset_offsets.topic_id
      and progress.partition = target.number
    order by progress.seq desc
    limit 1;
    if not found then
      if fn_reset_offsets.rerun then
        raise exception 'the partition has no progress'
          using errcode = 'TY007', detail = format('%s,,%s', target.number, target.place), hint = 'unknown';
      end if;
      last.group_name := fn_reset_offsets.group_name;
      last.topic_id := fn_reset_offsets.topic_id;
      last.partition := target.number;
      -- Above whatever was lost with the row, so that an owner of that time stays fenced.
      last.epoch := floor(extract(epoch from since) * 1000)::bigint;
      last.seq := last.epoch;
      last.watermark := target.place;
      last.ahead := '{}';
    else
      done := int8multirange(int8range(null, last.watermark)) + last.ahead;
      move.from_position := last.watermark;
      move.done_to := upper(done);
      cut := target.place < last.watermark and target.place >= target.log_end;
      undone := fn_reset_offsets.rerun or cut;
      if fn_reset_offsets.rerun and target.place > last.watermark or not undone and target.place < last.watermark then
        raise exception 'the position is on the other side'
          using errcode = 'TY007', detail = format('%s,%s,%s', target.number, last.watermark, target.place),
            hint = case when target.place > last.watermark then 'forward' else 'back' end;
      end if;
      move.moved := case when undone then target.place < move.done_to else target.place > last.watermark end;
      if not move.moved then
        move.epoch := last.epoch;
        return next move;
        continue;
      end if;
      if undone then
        last.watermark := target.place;
        last.ahead := '{}';
        move.rerun_to := case when not cut then move.done_to end;
      else
        passed := int8multirange(int8range(last.watermark, target.place)) - last.ahead;
        -- What is done from there on stays done.
        done := done + int8multirange(int8range(null, target.place));
        select upper(range) into last.watermark from unnest(done) as range order by range limit 1;
        last.ahead := done - int8multirange(int8range(null, last.watermark));
        move.to_position := last.watermark;
      end if;
    end if;

    if cut then
      -- Kafka has lost these; what it has at their offsets now comes after them.
      update sys.parked_messages as parked
      set generation = (
        select least(min(own.generation), 0) - 1
        from sys.parked_messages as own
        where own.group_name = fn_reset_offsets.group_name
          and own.topic_id = fn_reset_offsets.topic_id
          and own.partition = target.number
      )
      where parked.group_name = fn_reset_offsets.group_name
        and parked.topic_id = fn_reset_offsets.topic_id
        and parked.partition = target.number
        and parked.generation = 0
        and parked.record_offset >= target.place;
    else
      with dropped as (
        delete from sys.parked_messages as parked
        where parked.group_name = fn_reset_offsets.group_name
          and parked.topic_id = fn_reset_offsets.topic_id
          and parked.partition = target.number
          and parked.origin_topic_id = fn_reset_offsets.topic_id
          and case when undone then parked.record_offset >= target.place
            else fn_reset_offsets.drop_parked and parked.replay_count = 0 and parked.record_offset < target.place end
        returning int8range(parked.record_offset, parked.record_offset + 1) as range
      )
      select count(*), case when undone then '{}' else passed + coalesce(range_agg(dropped.range), '{}') end
      into move.dropped_parked, passed
      from dropped;
    end if;
    with dropped as (
      delete from sys.retries as retry
      where retry.group_name = fn_reset_offsets.group_name
        and retry.topic_id = fn_reset_offsets.topic_id
        and retry.partition = target.number
        and (retry.record_offset >= target.place) = undone
      returning 1
    )
    select count(*) into move.dropped_retries from dropped;
    if undone then
      update sys.dead_letters as letter
      set outbox_place = -1 - (last.epoch + 1), state = case when letter.state = 'open' and not cut then 'replayed' else letter.state end
      where letter.group_name = fn_reset_offsets.group_name
        and letter.topic_id = fn_reset_offsets.topic_id
        and letter.partition = target.number
        and letter.outbox_place = -1
        and letter.record_offset >= target.place;
    end if;
    select coalesce(sum(upper(range) - lower(range)), 0) into move.skipped from unnest(passed) as range;

    insert into sys.partition_resets as known (group_name, topic_id, partition, rerun_to, rerun_since, skipped)
    values (
      fn_reset_offsets.group_name, fn_reset_offsets.topic_id, target.number, coalesce(move.rerun_to, 0),
      case when move.rerun_to is null then '-infinity' else since end, passed
    )
    on conflict on constraint partition_resets_pkey do update
    set rerun_to = case when cut then 0 else greatest(known.rerun_to, excluded.rerun_to) end,
      rerun_since = greatest(known.rerun_since, excluded.rerun_since),
      skipped = case when undone then known.skipped - int8multirange(int8range(target.place, null)) else known.skipped + excluded.skipped end;

    last.seq := last.seq + 1;
    last.epoch := last.epoch + 1;
    last.commit_id := fn_reset_offsets.operation;
    last.kafka_offset := -1;
    last.committed_at := clock_timestamp();
    insert into sys.partition_progress select last.*;
    move.epoch := last.epoch;
    insert into sys.operator_actions (
      operation, requested_by, action, group_name, topic, topic_id, partition, from_position, to_position, facts, reason
    )
    values (
      fn_reset_offsets.operation, fn_reset_offsets.requested_by, fn_reset_offsets.action, fn_reset_offsets.group_name,
      fn_reset_offsets.topic, fn_reset_offsets.topic_id, target.number, move.from_position, move.to_position,
      jsonb_build_object('rerun_to', move.rerun_to, 'skipped', passed::text, 'dropped_parked', move.dropped_parked),
      fn_reset_offsets.reason
    );
    return next move;
  end loop;
end;
$$;

-- Kafka's offset, which somebody set, is not to count: the partition goes on from its own watermark, which its next owner
-- writes to Kafka. Returns the watermark. TY007 with the hint `unknown`: it has no row.
create function sys.fn_ignore_offset(group_name text, topic text, topic_id uuid, partition integer, operation uuid, requested_by text, reason text) returns bigint
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  last sys.partition_progress;
begin
  perform pg_advisory_xact_lock(sys.fn_partition_lock(fn_ignore_offset.group_name, fn_ignore_offset.topic_id, fn_ignore_offset.partition));
  select progress.* into last
  from sys.partition_progress as progress
  where progress.group_name = fn_ignore_offset.group_name
    and progress.topic_id = fn_ignore_offset.topic_id
    and progress.partition = fn_ignore_offset.partition
  order by progress.seq desc
  limit 1;
  if not found then
    raise exception 'the partition has no progress'
      using errcode = 'TY007', detail = format('%s,,', fn_ignore_offset.partition), hint = 'unknown';
  end if;
  last.seq := last.seq + 1;
  last.epoch := last.epoch + 1;
  last.commit_id := fn_ignore_offset.operation;
  last.kafka_offset := -1;
  last.committed_at := clock_timestamp();
  insert into sys.partition_progress select last.*;
  insert into sys.operator_actions (operation, requested_by, action, group_name, topic, topic_id, partition, from_position, to_position, reason)
  values (
    fn_ignore_offset.operation, fn_ignore_offset.requested_by, 'ignore', fn_ignore_offset.group_name, fn_ignore_offset.topic,
    fn_ignore_offset.topic_id, fn_ignore_offset.partition, last.watermark, last.watermark, fn_ignore_offset.reason
  );
  return last.watermark;
end;
$$;

-- For a group whose configuration accepts Kafka's offsets: its owner, and nobody else (TY001), moves the partition there.
create function sys.fn_accept_offset(group_name text, topic text, topic_id uuid, partition integer, epoch bigint, last_seq bigint, place bigint) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  mark bigint;
begin
  perform sys.fn_fence(
    array[fn_accept_offset.group_name], array[fn_accept_offset.topic_id], array[fn_accept_offset.partition],
    array[fn_accept_offset.epoch], array[fn_accept_offset.last_seq]
  );
  select progress.watermark into mark
  from sys.partition_progress as progress
  where progress.group_name = fn_accept_offset.group_name
    and progress.topic_id = fn_accept_offset.topic_id
    and progress.partition = fn_accept_offset.partition
    and progress.seq = fn_accept_offset.last_seq;
  perform sys.fn_reset_offsets(
    fn_accept_offset.group_name, fn_accept_offset.topic, fn_accept_offset.topic_id, array[fn_accept_offset.partition],
    array[fn_accept_offset.place], array[9223372036854775807], fn_accept_offset.place < mark, false, 'accept',
    gen_random_uuid(), 'configuration', 'onForeignOffset is accept'
  );
end;
$$;

-- As before, but the first row of a partition stays: it says where the group began.
create or replace function sys.fn_trim_progress(before timestamptz, batch integer) returns integer
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
      and candidate.seq > 0
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

-- Who moves a group's positions is not a daemon: its owner grants these to operators.
revoke execute on function sys.fn_reset_offsets(text, text, uuid, integer[], bigint[], bigint[], boolean, boolean, text, uuid, text, text) from public;
revoke execute on function sys.fn_ignore_offset(text, text, uuid, integer, uuid, text, text) from public;
revoke execute on function sys.fn_accept_offset(text, text, uuid, integer, bigint, bigint, bigint) from public;

do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('grant select on sys.operator_actions, sys.partition_resets to %I', name);
      execute format('grant execute on function sys.fn_accept_offset(text, text, uuid, integer, bigint, bigint, bigint) to %I', name);
    end if;
  end loop;
end;
$$;
