-- What was published of a partition of an earlier topic goes, unless somebody else has taken it over since (TY001).
create function sys.fn_delete_outbox(
  group_name text, topic_id uuid, partition integer, epoch bigint, last_seq bigint, seq bigint, place integer
) returns void
  language plpgsql
as $$
begin
  perform sys.fn_fence(
    array[fn_delete_outbox.group_name], array[fn_delete_outbox.topic_id], array[fn_delete_outbox.partition],
    array[fn_delete_outbox.epoch], array[fn_delete_outbox.last_seq]
  );
  delete from sys.outbox as sent
  where sent.group_name = fn_delete_outbox.group_name
    and sent.topic_id = fn_delete_outbox.topic_id
    and sent.partition = fn_delete_outbox.partition
    and (sent.seq, sent.place) <= (fn_delete_outbox.seq, fn_delete_outbox.place);
end;
$$;
