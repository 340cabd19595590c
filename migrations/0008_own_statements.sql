-- An actor's own statement runs as its tenant, with the session as it began: neither settings nor a role that an earlier
-- statement left, of whatever tenant, reach it. The marker says that the transaction is still the one that began.
create function sys.fn_enter_statement(tenant text, commit_id text) returns void
  language plpgsql
as $$
begin
  reset session authorization;
  reset all;
  perform
    pg_catalog.set_config('app.tenant_id', tenant, true),
    pg_catalog.set_config('plan_cache_mode', 'auto', true),
    pg_catalog.set_config('tenantry.commit', commit_id, true);
end;
$$;

-- After actors' own statements. Raises TY005 when this is no longer the transaction that set the marker, or not one that
-- may write.
create function sys.fn_leave_statements(commit_id text) returns void
  language plpgsql
as $$
begin
  if pg_catalog.current_setting('tenantry.commit', true) is distinct from commit_id then
    raise exception 'a statement of an actor ended the transaction' using errcode = 'TY005';
  end if;
  if pg_catalog.current_setting('transaction_read_only') = 'on' then
    raise exception 'a statement of an actor made the transaction read-only' using errcode = 'TY005';
  end if;
  reset session authorization;
  reset all;
end;
$$;

drop function sys.fn_check_transaction(text);
