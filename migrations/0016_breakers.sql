-- Circuit breakers that are not closed, one row each. Written in the commits of the partition's owner, and gone when the
-- breaker closes; tenant_id '' is the one that all tenants of a daemon share, in one of its partitions.
create table sys.circuit_breaker_state (
  group_name text not null,
  topic_id uuid not null,
  partition integer not null,
  dependency text not null,
  tenant_id text not null,
  actor text not null,
  state text not null check (state in ('open', 'half-open')),
  -- In a row.
  failures integer not null,
  successes integer not null,
  opened_at timestamptz not null default clock_timestamp(),
  probe_at timestamptz not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (group_name, topic_id, partition, dependency, tenant_id)
);

-- What operators have asked for, and why: the daemons look here, and nothing of it is ever changed.
create table sys.breaker_requests (
  id bigint generated always as identity primary key,
  action text not null check (action in ('trip', 'reset')),
  group_name text not null,
  actor text not null,
  dependency text not null,
  -- '': all tenants.
  tenant_id text not null,
  -- Of a trip: when it ends by itself.
  until timestamptz check ((until is not null) = (action = 'trip')),
  reason text not null check (reason <> ''),
  requested_by text not null,
  login text not null default session_user,
  requested_at timestamptz not null default clock_timestamp()
);

create index breaker_requests_by_time on sys.breaker_requests (requested_at);
create index breaker_trips on sys.breaker_requests (until) where action = 'trip';

create function sys.fn_trip_breaker(group_name text, actor text, dependency text, tenant_id text, lasts interval, reason text, requested_by text) returns bigint
  language sql
begin atomic
  insert into sys.breaker_requests (action, group_name, actor, dependency, tenant_id, until, reason, requested_by)
  values (
    'trip', fn_trip_breaker.group_name, fn_trip_breaker.actor, fn_trip_breaker.dependency, fn_trip_breaker.tenant_id,
    clock_timestamp() + fn_trip_breaker.lasts, fn_trip_breaker.reason, fn_trip_breaker.requested_by
  )
  returning id;
end;

create function sys.fn_reset_breaker(group_name text, actor text, dependency text, tenant_id text, reason text, requested_by text) returns bigint
  language sql
begin atomic
  insert into sys.breaker_requests (action, group_name, actor, dependency, tenant_id, reason, requested_by)
  values (
    'reset', fn_reset_breaker.group_name, fn_reset_breaker.actor, fn_reset_breaker.dependency,
    fn_reset_breaker.tenant_id, fn_reset_breaker.reason, fn_reset_breaker.requested_by
  )
  returning id;
end;

-- Trips in force: a later trip of the same breaker takes the place of an earlier one, a reset of it or of all tenants
-- ends it.
create view sys.vw_breaker_trips as
select trip.*
from sys.breaker_requests as trip
where trip.action = 'trip'
  and trip.until > clock_timestamp()
  and not exists (
    select from sys.breaker_requests as later
    where later.id > trip.id
      and later.group_name = trip.group_name
      and later.actor = trip.actor
      and later.dependency = trip.dependency
      and (later.tenant_id = trip.tenant_id or (later.action = 'reset' and later.tenant_id = ''))
  );

-- What is not closed, for people: tripped by an operator, open, or half-open, which an open one is from the time on at
-- which a probe may go.
create view sys.vw_circuit_breakers as
select
  state.group_name,
  topics.topic,
  state.partition,
  state.actor,
  state.tenant_id,
  state.dependency,
  case when state.probe_at <= clock_timestamp() then 'half-open' else state.state end as state,
  state.failures,
  state.successes,
  state.opened_at,
  state.probe_at,
  state.updated_at,
  '' as reason
from sys.circuit_breaker_state as state
left join sys.consumed_topics as topics using (group_name, topic_id)
union all
select group_name, null, null, actor, tenant_id, dependency, 'tripped', 0, 0, requested_at, until, requested_at, reason
from sys.vw_breaker_trips;

do $$
declare
  name text;
begin
  foreach name in array array['actuator', 'analyst', 'audit', 'saga'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('grant select, insert, update, delete on sys.circuit_breaker_state to %I', name);
      execute format('grant select, insert on sys.breaker_requests to %I', name);
      execute format('grant select on sys.vw_breaker_trips, sys.vw_circuit_breakers to %I', name);
      execute format('grant execute on function sys.fn_trip_breaker, sys.fn_reset_breaker to %I', name);
    end if;
  end loop;
end;
$$;
