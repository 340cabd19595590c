-- Committed messages on their way to Kafka, numbered by the commit of their input partition and their place in it: an
-- order without gaps, as a sequence would have (a row that commits late gets a number that was passed already).
create table sys.outbox (
  group_name text not null,
  topic_id uuid not null,
  partition integer not null,
  seq bigint not null,
  place integer not null,
  tenant_id text not null,
  to_topic text not null,
  message_id text not null,
  record_key bytea not null,
  record_value bytea not null,
  -- [[name, value], …]
  record_headers json not null,
  primary key (group_name, topic_id, partition, seq, place)
);

-- Kafka will never take this message: it becomes a dead letter of its group, partition and tenant. Twice is once.
create function sys.fn_refuse_outbox(group_name text, topic text, topic_id uuid, partition integer, seq bigint, place integer, reason text) returns void
  language sql
begin atomic
  with refused as (
    delete from sys.outbox as kept
    where kept.group_name = fn_refuse_outbox.group_name
      and kept.topic_id = fn_refuse_outbox.topic_id
      and kept.partition = fn_refuse_outbox.partition
      and kept.seq = fn_refuse_outbox.seq
      and kept.place = fn_refuse_outbox.place
    returning kept.*
  )
  insert into sys.dead_letters (
    group_name, topic, topic_id, partition, record_offset, outbox_place, record_key, record_value, header_names,
    header_values, tenant_id, actor, message_id, message_type, trace_id, reason, error_class, error_message, error_stack, attempts
  )
  select refused.group_name, refused.to_topic, refused.topic_id, refused.partition, refused.seq, refused.place,
    refused.record_key, refused.record_value,
    array(select convert_to(header ->> 0, 'UTF8') from json_array_elements(refused.record_headers) as header),
    array(select convert_to(header ->> 1, 'UTF8') from json_array_elements(refused.record_headers) as header),
    refused.tenant_id, '', refused.message_id, '', '', 'publish_refused', '', fn_refuse_outbox.reason, '', 1
  from refused
  on conflict do nothing;
end;
