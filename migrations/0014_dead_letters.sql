-- Dead letters go to a topic, too, by the outbox. Their keys, values and headers are whatever bytes the record had, each
-- of which may be null. What actors publish has headers of text, in record_headers as before.
alter table sys.outbox
  alter column record_key drop not null,
  alter column record_value drop not null,
  alter column record_headers drop not null,
  add column header_names bytea[],
  add column header_values bytea[],
  -- The record whose dead letter this is, where it was read.
  add column dead_letter_topic_id uuid,
  add column dead_letter_partition integer,
  add column dead_letter_offset bigint,
  add constraint outbox_headers check (num_nonnulls(record_headers, header_names) = 1);

create index outbox_dead_letters on sys.outbox (group_name, dead_letter_topic_id, dead_letter_partition, dead_letter_offset)
  where dead_letter_offset is not null;

alter table sys.dead_letters
  -- no; yes: written to the outbox together with the row; refused: and why.
  add column published text not null default 'no',
  add column state text not null default 'open' check (state in ('open', 'discarded', 'replayed')),
  -- What an operator did with it last: the operation in sys.dlq_audit.
  add column operation uuid;

create index dead_letters_by_age on sys.dead_letters using brin (failed_at);

-- Kafka will never take this message: it becomes a dead letter of its group, partition and tenant. A dead letter has its
-- row, which says so. Twice is once.
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

-- Who did what to which dead letters. Nobody is granted to write it but by the functions below, and nothing changes or
-- deletes a row of it.
create table sys.dlq_audit (
  id bigint generated always as identity primary key,
  -- One for all batches of a command.
  operation uuid not null,
  at timestamptz not null default clock_timestamp(),
  -- The login, and the name that was given.
  session_name text not null,
  given_name text not null,
  action text not null,
  reason text not null,
  -- How they were chosen, as it was asked for.
  filter jsonb not null,
  count bigint not null
);

create index dlq_audit_by_operation on sys.dlq_audit (operation);

-- Marks these dead letters as discarded, those of them that are open, and writes down who did. Returns how many.
create function sys.fn_discard_dead_letters(ids bigint[], given_name text, reason text, filter jsonb default '{}', operation uuid default gen_random_uuid()) returns bigint
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  discarded bigint;
begin
  if coalesce(btrim(fn_discard_dead_letters.reason), '') = '' or coalesce(btrim(fn_discard_dead_letters.given_name), '') = '' then
    raise exception 'discarding needs a name and a reason' using errcode = '22023';
  end if;
  update sys.dead_letters as letter
  set state = 'discarded', operation = fn_discard_dead_letters.operation
  where letter.id in (
    -- In one order, so that two at once do not deadlock.
    select chosen.id from sys.dead_letters as chosen
    where chosen.id = any (fn_discard_dead_letters.ids) and chosen.state = 'open'
    order by chosen.id
    for update
  );
  get diagnostics discarded = row_count;
  if discarded > 0 then
    insert into sys.dlq_audit (operation, session_name, given_name, action, reason, filter, count)
    values (fn_discard_dead_letters.operation, session_user, fn_discard_dead_letters.given_name, 'discard',
      fn_discard_dead_letters.reason, fn_discard_dead_letters.filter, discarded);
  end if;
  return discarded;
end;
$$;

-- Whether a value is JSON for which this comparison is true. False, never an error, for whatever else it is.
create function sys.fn_value_matches(value bytea, path jsonpath) returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog
as $$
begin
  return coalesce(jsonb_path_match_tz(convert_from(value, 'UTF8')::jsonb, path, '{}', true), false);
exception when others then
  return false;
end;
$$;

-- What is open.
create view sys.vw_dlq_summary as
select
  group_name,
  topic,
  reason,
  error_class,
  count(*) as dead_letters,
  count(distinct tenant_id) as tenants,
  min(first_failed_at) as first_failed_at,
  max(failed_at) as last_failed_at
from sys.dead_letters
where state = 'open'
group by group_name, topic, reason, error_class;

-- Of each group, or of one: the dead letters of the last hours.
create function sys.fn_get_dlq_statistics(since interval default '24 hours', for_group text default null)
  returns table (
    group_name text, dead_letters bigint, open bigint, discarded bigint, replayed bigint, refused bigint, tenants bigint,
    reasons jsonb, first_failed_at timestamptz, last_failed_at timestamptz
  )
  language sql
  stable
begin atomic
  with counted as (
    select letter.group_name, letter.reason, count(*) as times
    from sys.dead_letters as letter
    where letter.failed_at >= now() - fn_get_dlq_statistics.since
      and (for_group is null or letter.group_name = for_group)
    group by letter.group_name, letter.reason
  )
  select
    letter.group_name,
    count(*),
    count(*) filter (where letter.state = 'open'),
    count(*) filter (where letter.state = 'discarded'),
    count(*) filter (where letter.state = 'replayed'),
    count(*) filter (where letter.published like 'refused: %'),
    count(distinct letter.tenant_id),
    (select jsonb_object_agg(counted.reason, counted.times) from counted where counted.group_name = letter.group_name),
    min(letter.first_failed_at),
    max(letter.failed_at)
  from sys.dead_letters as letter
  where letter.failed_at >= now() - fn_get_dlq_statistics.since
    and (for_group is null or letter.group_name = for_group)
  group by letter.group_name
  order by letter.group_name;
end;

revoke execute on function sys.fn_discard_dead_letters(bigint[], text, text, jsonb, uuid) from public;

do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('grant update (published) on sys.dead_letters to %I', name);
      execute format('grant select on sys.dlq_audit, sys.vw_dlq_summary to %I', name);
      execute format('grant execute on function sys.fn_discard_dead_letters(bigint[], text, text, jsonb, uuid) to %I', name);
    end if;
  end loop;
end;
$$;
