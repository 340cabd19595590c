-- As before, but a NUL in a header becomes U+FFFD: text cannot hold it, and the refusal would fail for ever.
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
  on conflict do nothing;
end;
