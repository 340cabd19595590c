-- The groups' roles. Who may not create roles keeps the grants for those that exist.
do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if not exists (select from pg_roles where rolname = name) then
      begin
        execute format('create role %I nologin', name);
      exception when insufficient_privilege or duplicate_object or unique_violation then
        raise notice 'role % was not created', name;
      end;
    end if;
    if exists (select from pg_roles where rolname = name) then
      execute format('grant usage on schema sys to %I', name);
      execute format('grant select, insert, delete on sys.partition_progress, sys.consumed_topics, sys.request_keys, sys.outbox to %I', name);
      execute format('grant update on sys.consumed_topics to %I', name);
      execute format('grant select, insert, update on sys.actor_state to %I', name);
      execute format('grant select, insert on sys.dead_letters, sys.message_traceability, sys.consumer_offsets_log to %I', name);
      execute format('grant select on sys.kafka_topics_metadata, sys.vw_consumer_lag, sys.vw_message_throughput to %I', name);
      execute format('grant execute on all functions in schema sys to %I', name);
    end if;
  end loop;
end;
$$;
