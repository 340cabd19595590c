-- One value per actor and tenant, bound to the partition that first wrote it.
create table sys.actor_state (
  group_name text collate "C" not null,
  actor text collate "C" not null,
  tenant_id text collate "C" not null,
  topic text not null,
  partition integer not null,
  version integer not null,
  -- json keeps the text as it was written, escaped NULs included; jsonb refuses them.
  state json not null,
  updated_at timestamptz not null default now(),
  primary key (group_name, actor, tenant_id)
) with (fillfactor = 60);

-- TY004: a tenant's state belongs to another partition.
create function sys.fn_write_states(
  groups text[], actors text[], tenants text[], topics text[], partitions integer[], versions integer[], states text[]
) returns void
  language plpgsql
as $$
declare
  written bigint;
begin
  insert into sys.actor_state as kept (group_name, actor, tenant_id, topic, partition, version, state)
  select named.group_name, named.actor, named.tenant_id, named.topic, named.partition, named.version, named.state::json
  from unnest(groups, actors, tenants, topics, partitions, versions, states)
    as named (group_name, actor, tenant_id, topic, partition, version, state)
  on conflict (group_name, actor, tenant_id) do update
  set version = excluded.version, state = excluded.state, updated_at = now()
  where kept.topic = excluded.topic and kept.partition = excluded.partition;
  get diagnostics written = row_count;
  if written <> cardinality(tenants) then
    raise exception 'a tenant''s state belongs to another partition' using errcode = 'TY004';
  end if;
end;
$$;
