-- Records that wait outside of memory, because their tenant cannot go on or sends faster than it is served. Written by the
-- commits of the partition's owner: progress has them as done, and the commit of their outcome deletes them.
create table sys.parked_messages (
  group_name text collate "C" not null,
  topic_id uuid not null,
  partition integer not null,
  tenant_id text collate "C" not null,
  -- Below 0: of an earlier topic of that name, and so before all of this one.
  generation integer not null default 0,
  record_offset bigint not null,
  -- Where the record was read; differs from the partition above for an earlier topic's.
  origin_topic_id uuid not null,
  origin_partition integer not null,
  -- In ms since 1970, -1 where it has none.
  record_timestamp bigint not null,
  record_key bytea,
  record_value bytea,
  header_names bytea[] not null,
  header_values bytea[] not null,
  -- Attempts that have failed.
  attempts integer not null,
  first_failed_at timestamptz,
  -- How often it was a dead letter that was brought back.
  replay_count integer not null default 0,
  parked_at timestamptz not null default clock_timestamp(),
  primary key (group_name, topic_id, partition, tenant_id, generation, record_offset)
-- Rows come and go: a tenth of dead ones is enough to clean up.
) with (autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_insert_scale_factor = 1);

-- With their outcomes' commit the rows go. TY001, as for a fence, naming the commit's partitions where one has gone
-- already: what is known of them is not true any more.
create function sys.fn_unpark(
  groups text[], topic_ids uuid[], partitions integer[], tenants text[], generations integer[], offsets bigint[], places integer[]
) returns void
  language plpgsql
as $$
declare
  missing text;
begin
  with named as (
    select *
    from unnest(groups, topic_ids, partitions, tenants, generations, offsets, places)
      with ordinality as named (group_name, topic_id, partition, tenant_id, generation, record_offset, place, nth)
  ), gone as (
    delete from sys.parked_messages as parked
    using named
    where parked.group_name = named.group_name
      and parked.topic_id = named.topic_id
      and parked.partition = named.partition
      and parked.tenant_id = named.tenant_id
      and parked.generation = named.generation
      and parked.record_offset = named.record_offset
    returning named.nth
  )
  select string_agg(distinct named.place::text, ',')
  into missing
  from named
  where named.nth not in (select gone.nth from gone);
  if missing is not null then
    raise exception 'a parked record has gone' using errcode = 'TY001', detail = missing;
  end if;
end;
$$;

-- What an earlier topic of this name left in one of its partitions is its heir's: before all that it has itself.
create function sys.fn_adopt_parked(group_name text, old_topic_id uuid, old_partition integer, topic_id uuid, partition integer) returns void
  language sql
begin atomic
  update sys.parked_messages as parked
  set topic_id = fn_adopt_parked.topic_id,
    partition = fn_adopt_parked.partition,
    generation = parked.generation + (
      select least(min(own.generation), 0) - 1
      from sys.parked_messages as own
      where own.group_name = fn_adopt_parked.group_name
        and own.topic_id = fn_adopt_parked.topic_id
        and own.partition = fn_adopt_parked.partition
    )
  where parked.group_name = fn_adopt_parked.group_name
    and parked.topic_id = fn_adopt_parked.old_topic_id
    and parked.partition = fn_adopt_parked.old_partition;
end;

do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('grant select, insert, update, delete on sys.parked_messages to %I', name);
    end if;
  end loop;
end;
$$;
