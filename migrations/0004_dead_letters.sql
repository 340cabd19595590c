-- Records given up on, byte for byte. Error texts are cut and hold no NUL.
create table sys.dead_letters (
  id bigint generated always as identity primary key,
  group_name text not null,
  topic text not null,
  topic_id uuid not null,
  partition integer not null,
  record_offset bigint not null,
  -- For a message that Kafka refused: its place in the outbox. Else -1.
  outbox_place bigint not null default -1,
  record_timestamp timestamptz,
  record_key bytea,
  record_value bytea,
  header_names bytea[] not null,
  header_values bytea[] not null,
  tenant_id text not null,
  actor text not null,
  message_id text not null,
  message_type text not null,
  trace_id text not null,
  reason text not null,
  error_class text not null,
  error_message text not null,
  error_stack text not null,
  sqlstate text,
  attempts integer not null,
  first_failed_at timestamptz not null default clock_timestamp(),
  failed_at timestamptz not null default clock_timestamp(),
  replay_count integer not null default 0,
  unique (group_name, topic_id, partition, record_offset, outbox_place)
);

create index dead_letters_by_tenant on sys.dead_letters (tenant_id, failed_at);
