-- Records whose handler failed and that are tried again: what a new owner must know so that it counts on. Written in the
-- commits of the partition's owner, and gone with the record's outcome.
create table sys.retries (
  group_name text not null,
  topic_id uuid not null,
  partition integer not null,
  record_offset bigint not null,
  tenant_id text not null,
  actor text not null,
  message_id text not null,
  message_type text not null,
  -- Attempts that have failed.
  attempts integer not null,
  first_failed_at timestamptz not null,
  failed_at timestamptz not null,
  retry_at timestamptz not null,
  reason text not null,
  error_class text not null,
  error_message text not null,
  primary key (group_name, topic_id, partition, record_offset)
);

do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('grant select, insert, update, delete on sys.retries to %I', name);
    end if;
  end loop;
end;
$$;
