-- A record that was replayed and is given up again is another dead letter, with the number of its replay: the row of
-- before stays, and tells what became of it.
do $$
begin
  execute (
    select format('alter table sys.dead_letters drop constraint %I', conname)
    from pg_constraint
    where conrelid = 'sys.dead_letters'::regclass and contype = 'u'
  );
end;
$$;

alter table sys.dead_letters
  add constraint dead_letters_by_record unique (group_name, topic_id, partition, record_offset, outbox_place, replay_count);

create index dead_letters_by_operation on sys.dead_letters (operation) where operation is not null;

-- It was given up with its key written: that key is its own, and makes it no copy.
alter table sys.parked_messages
  add column holds_key boolean not null default false,
  -- Those that were brought back in one transaction have one number.
  add column replay_batch bigint;

create index parked_replays on sys.parked_messages (group_name, topic_id, partition, tenant_id, generation, record_offset)
  where replay_count > 0;
create index parked_replays_by_origin on sys.parked_messages (group_name, origin_topic_id, origin_partition, record_offset)
  where replay_count > 0;

-- As before; of a record's dead letters, the one whose message it was says so.
create or replace function sys.fn_refuse_outbox(group_name text, topic text, topic_id uuid, partition integer, seq bigint, place integer, reason text) returns void
  language sql
begin atomic
  with refused as (
    delete from sys.outbox as kept
    where kept.group_name = fn_refuse_outbox.group_name
      and kept.topic_id = fn_refuse_outbox.topic_id
      and kept.partition = fn_refuse_outbox.partition
      and kept.seq = fn_refuse_outbox.seq
      and kept.place = fn_refuse_outbox.place
    returning kept.*,
      -- An odd number of backslashes before it: the last one is the escape's own.
      regexp_replace(kept.record_headers::text, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g')::json as safe_headers
  ), told as (
    update sys.dead_letters as letter
    set published = 'refused: ' || fn_refuse_outbox.reason
    from refused
    where letter.group_name = refused.group_name
      and letter.topic_id = refused.dead_letter_topic_id
      and letter.partition = refused.dead_letter_partition
      and letter.record_offset = refused.dead_letter_offset
      and letter.outbox_place = -1
      -- Of headers with this name the last is ours.
      and letter.replay_count = coalesce((
        select convert_from(header.value, 'UTF8')::integer
        from unnest(refused.header_names, refused.header_values) with ordinality as header (name, value, nth)
        where header.name = convert_to('tenantry-replay-count', 'UTF8')
        order by header.nth desc
        limit 1
      ), 0)
  )
  insert into sys.dead_letters (
    group_name, topic, topic_id, partition, record_offset, outbox_place, record_key, record_value, header_names,
    header_values, tenant_id, actor, message_id, message_type, trace_id, reason, error_class, error_message, error_stack, attempts
  )
  select refused.group_name, refused.to_topic, refused.topic_id, refused.partition, refused.seq, refused.place,
    refused.record_key, refused.record_value,
    array(select convert_to(header ->> 0, 'UTF8') from json_array_elements(refused.safe_headers) as header),
    array(select convert_to(header ->> 1, 'UTF8') from json_array_elements(refused.safe_headers) as header),
    refused.tenant_id, '', refused.message_id, '', '', 'publish_refused', '', fn_refuse_outbox.reason, '', 1
  from refused
  where refused.dead_letter_offset is null
  on conflict do nothing;
end;

-- Puts dead letters among the parked messages of their group, topic, partition and tenant, whose owner finds them there,
-- and writes down who did. One row for each id: null, or why it was left as it is, of which nothing else hinders the
-- others:
--   unknown              there is no such dead letter
--   discarded, replayed  it is not open
--   message              a message that Kafka refused: no record
--   reset                its partition was reset since, and it has run again, or Kafka has lost it
--   tenant               it has no tenant, so no place in anybody's order
--   topic                the group has never read the topic
--   replays              it has been replayed as often as it may
create function sys.fn_replay_dead_letters(
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
      -- One that could not be read was given up without a key; but it may have been readable before.
      exists (
        select from sys.dead_letters as before
        where before.group_name = chosen.group_name
          and before.topic_id = chosen.topic_id
          and before.partition = chosen.partition
          and before.record_offset = chosen.record_offset
          and before.outbox_place = -1
          and before.message_id <> ''
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

-- One dead letter, or an error that says why not.
create function sys.fn_replay_dlq_message(id bigint, given_name text, reason text, max_replays integer default 5) returns void
  language plpgsql
as $$
declare
  refusal text;
begin
  select replay.refused into refusal
  from sys.fn_replay_dead_letters(
    array[fn_replay_dlq_message.id], fn_replay_dlq_message.given_name, fn_replay_dlq_message.reason,
    max_replays => fn_replay_dlq_message.max_replays
  ) as replay;
  if refusal is not null then
    raise exception 'dead letter % was not replayed: %', fn_replay_dlq_message.id,
      case refusal
        when 'unknown' then 'there is none of that number'
        when 'discarded' then 'it has been discarded'
        when 'replayed' then 'it has been replayed already'
        when 'message' then 'it is a message that Kafka refused, no record'
        when 'reset' then 'its partition was reset since'
        when 'tenant' then 'it has no tenant'
        when 'topic' then 'its group has never read its topic'
        else format('it has been replayed %s times', fn_replay_dlq_message.max_replays)
      end
      using errcode = '22023';
  end if;
end;
$$;

revoke execute on function sys.fn_replay_dead_letters(bigint[], text, text, jsonb, uuid, integer) from public;
revoke execute on function sys.fn_replay_dlq_message(bigint, text, text, integer) from public;

do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('grant execute on function sys.fn_replay_dead_letters(bigint[], text, text, jsonb, uuid, integer) to %I', name);
      execute format('grant execute on function sys.fn_replay_dlq_message(bigint, text, text, integer) to %I', name);
    end if;
  end loop;
end;
$$;
