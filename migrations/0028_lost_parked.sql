-- As before, but where Kafka has cut a log off, what is parked of it keeps its order, and what the log has lost of that is
-- told from the records that come at the same offsets later: a reset back does not drop it, as nothing brings it again,
-- and its dead letters are its own. Such a record's topic id is the operation of the reset (sys.operator_actions).
create or replace function sys.fn_reset_offsets(
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
      -- What the log has at these offsets now comes after all that is parked, in whose order nothing changes. What of that
      -- the log has lost was read elsewhere, to us, from now on: no later reset of this log has it run again.
      update sys.parked_messages as parked
      set generation = parked.generation + (
          select least(min(own.generation), 0) - 1
          from sys.parked_messages as own
          where own.group_name = fn_reset_offsets.group_name
            and own.topic_id = fn_reset_offsets.topic_id
            and own.partition = target.number
        ),
        origin_topic_id = case
          when parked.origin_topic_id = fn_reset_offsets.topic_id and parked.record_offset >= target.place then fn_reset_offsets.operation
          else parked.origin_topic_id
        end
      where parked.group_name = fn_reset_offsets.group_name
        and parked.topic_id = fn_reset_offsets.topic_id
        and parked.partition = target.number;
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
