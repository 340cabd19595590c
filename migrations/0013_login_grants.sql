-- A daemon looks whether the schema is the one it knows before it does anything else.
do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('grant select on sys.migrations to %I', name);
    end if;
  end loop;
end;
$$;
