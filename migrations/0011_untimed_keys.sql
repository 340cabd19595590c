-- Ids without a time (day 0) get a partition of their own. In the default partition each new day's partition had to lock
-- and read them all, and every commit waited. The old default becomes that partition as it is: only the few keys of other
-- days move. Commits wait while this runs, which reads the table twice and copies none of it.
alter table sys.request_keys detach partition sys.request_keys_default;

alter table sys.request_keys_default rename to request_keys_untimed;
alter index sys.request_keys_default_pkey rename to request_keys_untimed_pkey;
alter index sys.request_keys_default_by_age rename to request_keys_untimed_by_age;

-- Ids with a time outside the kept days; trimmed in batches, as those without a time are.
create table sys.request_keys_default partition of sys.request_keys default;
create index request_keys_default_by_age on sys.request_keys_default using brin (seen_at);
create index request_keys_default_by_day on sys.request_keys_default (day);

with moved as (
  delete from sys.request_keys_untimed as kept
  where kept.day <> 0
  returning kept.*
)
insert into sys.request_keys select * from moved;

alter table sys.request_keys attach partition sys.request_keys_untimed for values from (0) to (1);

-- Creates a day's partition unless that would hold commits up: the default partition is locked and read for it. Raises
-- TY006 when it is larger than `max_bytes`; sys.fn_create_key_day does not ask. True if it was created now.
create function sys.fn_add_key_day(day integer, max_bytes bigint default 134217728) returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
begin
  if to_regclass('sys.request_keys_' || fn_add_key_day.day) is not null then
    return false;
  end if;
  if pg_relation_size('sys.request_keys_default') > fn_add_key_day.max_bytes then
    raise exception 'sys.request_keys_default is too large to add day % without holding commits up; its keys stay there', fn_add_key_day.day
      using errcode = 'TY006', hint = 'In a quiet hour: select sys.fn_create_key_day(day)';
  end if;
  return sys.fn_create_key_day(fn_add_key_day.day);
end;
$$;

-- Deletes keys without a partition of their day that are older than `before`, at most `batch` of either kind; returns how
-- many of the kind that had more.
create or replace function sys.fn_trim_default_keys(before timestamptz, batch integer) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, sys
as $$
declare
  untimed integer;
  outside integer;
begin
  delete from sys.request_keys_untimed
  where ctid = any (array(select ctid from sys.request_keys_untimed where seen_at < before limit batch));
  get diagnostics untimed = row_count;
  delete from sys.request_keys_default
  where ctid = any (array(select ctid from sys.request_keys_default where seen_at < before limit batch));
  get diagnostics outside = row_count;
  return greatest(untimed, outside);
end;
$$;
