-- A bad record claims no key, so that its message may come again, mended; whatever else is given up holds its own. Null:
-- written by a version that let every message that had an id hold its key.
alter table sys.dead_letters add column holds_key boolean;

-- As before, but what is brought back holds its key if one of its dead letters says so.
create or replace function sys.fn_replay_dead_letters(
  ids bigint[], given_name text, reason text, filter jsonb default '{}', operation uuid default gen_random_uuid(),
  max_replays integer default 5
) returns table (letter_id bigint, refused text)
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
#variable_conflict use_column
begin
  if coalesce(btrim(fn_replay_dead_letters.reason), '') = '' or coalesce(btrim(fn_replay_dead_letters.given_name), '') = '' then
    raise exception 'replaying needs a name and a reason' using errcode = '22023';
  end if;
  -- In one order, so that two at once do not deadlock.
  perform from sys.dead_letters as letter
  where letter.id = any (fn_replay_dead_letters.ids)
  order by letter.id
  for update;
  -- The lock of fn_begin_topic: whoever inherits what is here of a topic begins with its heir later.
  perform pg_advisory_xact_lock(topics.key)
  from (
    select distinct hashtextextended(letter.group_name || '/' || letter.topic, 7467) as key
    from sys.dead_letters as letter
    where letter.id = any (fn_replay_dead_letters.ids)
    order by 1
  ) as topics;
  return query
  with judged as (
    select letter.*, named.id as named_id, own.begun_at, heir.topic_id as heir_id, letter.partition % heir.partitions as modulo,
      case
        when letter.id is null then 'unknown'
        when letter.state <> 'open' then letter.state
        when letter.outbox_place >= 0 then 'message'
        when letter.outbox_place < -1 then 'reset'
        when letter.tenant_id = '' then 'tenant'
        when heir.topic_id is null then 'topic'
        when letter.replay_count >= fn_replay_dead_letters.max_replays then 'replays'
      end as refusal
    from (select distinct unnest(fn_replay_dead_letters.ids) as id) as named
    left join sys.dead_letters as letter on letter.id = named.id
    left join sys.consumed_topics as own on own.group_name = letter.group_name and own.topic_id = letter.topic_id
    left join lateral (
      select newest.topic_id, newest.partitions
      from sys.consumed_topics as newest
      where newest.group_name = letter.group_name and newest.topic = letter.topic
      order by newest.begun_at desc
      limit 1
    ) as heir on true
  ), chosen as (
    select judged.*, case when judged.topic_id = judged.heir_id then judged.partition else judged.modulo end as heir_partition
    from judged
    where judged.refusal is null
  ), generations as (
    -- What an earlier topic of the name left comes before all of this one, the oldest first; and beside its own, if some
    -- of it is here already.
    select origin.group_name, origin.topic_id, origin.partition, coalesce(
        (
          select max(own.generation)
          from sys.parked_messages as own
          where own.group_name = origin.group_name
            and own.topic_id = origin.heir_id
            and own.partition = origin.heir_partition
            and own.origin_topic_id = origin.topic_id
            and own.origin_partition = origin.partition
        ), (
          select least(min(other.generation), 0)
          from sys.parked_messages as other
          where other.group_name = origin.group_name
            and other.topic_id = origin.heir_id
            and other.partition = origin.heir_partition
        ) - origin.nth) as generation
    from (
      select one.*, row_number() over (
          partition by one.group_name, one.heir_id, one.heir_partition
          order by one.begun_at desc nulls last, one.topic_id, one.partition desc
        )::integer as nth
      from (
        select distinct chosen.group_name, chosen.topic_id, chosen.partition, chosen.begun_at, chosen.heir_id, chosen.heir_partition
        from chosen
        where chosen.topic_id <> chosen.heir_id
      ) as one
    ) as origin
  ), parked as (
    insert into sys.parked_messages (
      group_name, topic_id, partition, tenant_id, generation, record_offset, origin_topic_id, origin_partition,
      record_timestamp, record_key, record_value, header_names, header_values, attempts, replay_count, replay_batch, holds_key)
    select chosen.group_name, chosen.heir_id, chosen.heir_partition, chosen.tenant_id, coalesce(generations.generation, 0),
      chosen.record_offset, chosen.topic_id, chosen.partition,
      coalesce((extract(epoch from chosen.record_timestamp) * 1000)::bigint, -1), chosen.record_key, chosen.record_value,
      chosen.header_names, chosen.header_values, 0, chosen.replay_count + 1, pg_current_xact_id()::text::bigint,
      -- A bad record was given up without its key; but it may have been none before.
      exists (
        select from sys.dead_letters as before
        where before.group_name = chosen.group_name
          and before.topic_id = chosen.topic_id
          and before.partition = chosen.partition
          and before.record_offset = chosen.record_offset
          and before.outbox_place = -1
          and coalesce(before.holds_key, before.message_id <> '')
      )
    from chosen
    left join generations using (group_name, topic_id, partition)
  ), marked as (
    update sys.dead_letters as letter
    set state = 'replayed', operation = fn_replay_dead_letters.operation
    from chosen
    where letter.id = chosen.id
  ), audited as (
    insert into sys.dlq_audit (operation, session_name, given_name, action, reason, filter, count)
    select fn_replay_dead_letters.operation, session_user, fn_replay_dead_letters.given_name, 'replay',
      fn_replay_dead_letters.reason, fn_replay_dead_letters.filter, count(*)
    from chosen
    having count(*) > 0
  )
  select judged.named_id, judged.refusal from judged order by 1;
end;
$$;
