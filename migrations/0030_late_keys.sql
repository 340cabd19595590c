-- A message may come long after the time that its id carries. Its key is in the partition of that time's day all the same,
-- and was dropped with it, days after it had been written rather than retention's time.

-- As before, with an index that finds young keys without reading the day.
create or replace function sys.fn_create_key_day(day integer) returns boolean
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
  execute format('create index %I on sys.%I using brin (seen_at)', name || '_by_age', name);
  execute format('alter table sys.request_keys attach partition sys.%I for values from (%s) to (%s)', name, fn_create_key_day.day, fn_create_key_day.day + 1);
  return true;
end;
$$;

drop function sys.fn_drop_key_days(integer);

-- Drops the days before `first_day` all of whose keys were written before `before`; returns how many.
create function sys.fn_drop_key_days(first_day integer, before timestamptz) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  name text;
  kept boolean;
  dropped integer := 0;
begin
  for name in
    select child.relname
    from pg_inherits
    join pg_class as child on child.oid = pg_inherits.inhrelid
    where pg_inherits.inhparent = 'sys.request_keys'::regclass
      and child.relname ~ '^request_keys_[0-9]+$'
      and substring(child.relname from '[0-9]+$')::integer < fn_drop_key_days.first_day
  loop
    execute format('select exists (select from sys.%I where seen_at >= $1)', name) into kept using before;
    continue when kept;
    lock table sys.request_keys in access exclusive mode;
    -- One may have come meanwhile. Days from before this migration have no index, and nobody can wait for all to be read.
    if to_regclass(format('sys.%I', name || '_by_age')) is not null then
      execute format('select exists (select from sys.%I where seen_at >= $1)', name) into kept using before;
      continue when kept;
    end if;
    execute format('drop table sys.%I', name);
    dropped := dropped + 1;
  end loop;
  return dropped;
end;
$$;
