-- A commit that doubts looks its keys up and inserts those of what it commits: nothing is claimed and given up any more.
drop function sys.fn_claim_keys(uuid[], text[], text[], integer[]);
drop function sys.fn_claim_new_keys(uuid[], text[], text[], integer[]);
