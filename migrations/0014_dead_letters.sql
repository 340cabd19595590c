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
  add column published text not null default 'no';

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

do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('grant update (published) on sys.dead_letters to %I', name);
    end if;
  end loop;
end;
$$;
