-- The key under which a message's effects land once. The id comes first, so that ids with their time in front (UUIDv7,
-- ULID) extend the index at its end. `day` is a function of the id alone (days since 1970 in UTC, 0 for an id without a
-- time), so the key is unique by id, and retention drops whole partitions.
create table sys.request_keys (
  message_id uuid not null,
  tenant_id text collate "C" not null,
  group_name text collate "C" not null,
  day integer not null,
  seen_at timestamptz not null default now(),
  primary key (message_id, tenant_id, group_name, day)
) partition by range (day);

-- Ids without a time, and those outside the kept days; trimmed in batches.
create table sys.request_keys_default partition of sys.request_keys default;

create index request_keys_default_by_age on sys.request_keys_default using brin (seen_at);

-- Bets that no key is known: raises TY003 if one is.
create function sys.fn_claim_keys(message_ids uuid[], tenants text[], groups text[], days integer[]) returns void
  language plpgsql
as $$
declare
  inserted bigint;
begin
  insert into sys.request_keys (message_id, tenant_id, group_name, day)
  select * from unnest(message_ids, tenants, groups, days)
  on conflict do nothing;
  get diagnostics inserted = row_count;
  if inserted <> cardinality(message_ids) then
    raise exception 'a message was processed before' using errcode = 'TY003';
  end if;
end;
$$;

-- Asks: claims the keys that are new and returns the places (from 0) of those that are not.
create function sys.fn_claim_new_keys(message_ids uuid[], tenants text[], groups text[], days integer[]) returns setof integer
  language sql
begin atomic
  with inserted as (
    insert into sys.request_keys (message_id, tenant_id, group_name, day)
    select * from unnest(message_ids, tenants, groups, days)
    on conflict do nothing
    returning message_id, tenant_id, group_name
  )
  select (named.place - 1)::integer
  from unnest(message_ids, tenants, groups) with ordinality as named (message_id, tenant_id, group_name, place)
  left join inserted using (message_id, tenant_id, group_name)
  where inserted.message_id is null
  order by named.place;
end;

-- The partition of one day. Rows of that day that went to the default partition move in the same transaction, as
-- PostgreSQL insists. True if it was created now.
create function sys.fn_create_key_day(day integer) returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  name text := 'request_keys_' || fn_create_key_day.day;
begin
  if to_regclass('sys.' || name) is not null then
    return false;
  end if;
  lock table sys.request_keys_default in access exclusive mode;
  execute format('create table sys.%I (like sys.request_keys including defaults)', name);
  execute format(
    'with moved as (delete from sys.request_keys_default as kept where kept.day = %s returning kept.*) insert into sys.%I select * from moved',
    fn_create_key_day.day, name
  );
  execute format('alter table sys.%I add primary key (message_id, tenant_id, group_name, day)', name);
  execute format('alter table sys.request_keys attach partition sys.%I for values from (%s) to (%s)', name, fn_create_key_day.day, fn_create_key_day.day + 1);
  return true;
end;
$$;

-- Drops the days before `first_day`; returns how many.
create function sys.fn_drop_key_days(first_day integer) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  name text;
  dropped integer := 0;
begin
  for name in
    select child.relname
    from pg_inherits
    join pg_class as child on child.oid = pg_inherits.inhrelid
    where pg_inherits.inhparent = 'sys.request_keys'::regclass
      and child.relname ~ '^request_keys_[0-9]+$'
      and substring(child.relname from '[0-9]+$')::integer < first_day
  loop
    execute format('drop table sys.%I', name);
    dropped := dropped + 1;
  end loop;
  return dropped;
end;
$$;

-- Deletes keys of the default partition that are older than `before`, at most `batch` of them; returns how many.
create function sys.fn_trim_default_keys(before timestamptz, batch integer) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  deleted integer;
begin
  delete from sys.request_keys_default
  where ctid = any (array(select ctid from sys.request_keys_default where seen_at < before limit batch));
  get diagnostics deleted = row_count;
  return deleted;
end;
$$;
