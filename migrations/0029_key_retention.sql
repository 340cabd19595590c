-- How long each group wants its keys kept, as a daemon of that group has said last. All groups of a database share the days
-- of sys.request_keys, and one that keeps them shorter must not drop what another still needs.
create table sys.key_retention (
  group_name text primary key,
  keys_ms bigint not null,
  said_at timestamptz not null default clock_timestamp()
);

-- Says for groups how long their keys are to be kept; returns for how long any group wants it, in milliseconds. One that
-- nobody has spoken for in as long as that (and an hour, as a daemon says it every ten minutes) has no such key left.
create function sys.fn_keep_keys(groups text[], keys_ms bigint) returns bigint
  language sql
  security definer
  set search_path = pg_catalog, sys
begin atomic
  insert into sys.key_retention as said (group_name, keys_ms)
  select named.group_name, fn_keep_keys.keys_ms
  from unnest(fn_keep_keys.groups) as named (group_name)
  order by named.group_name
  on conflict on constraint key_retention_pkey do update set keys_ms = excluded.keys_ms, said_at = clock_timestamp();
  select greatest(max(said.keys_ms), fn_keep_keys.keys_ms)
  from sys.key_retention as said
  where said.said_at + make_interval(secs => said.keys_ms / 1000.0, hours => 1) > clock_timestamp();
end;
