-- A partition that is lost as soon as its records run together again had come far while they ran alone: its next owners knew
-- nothing of that, and three more were lost.

-- So many records have run alone and ended that all run together again. It begins anew with that: lost within seconds, it is
-- one owner more, and they run alone.
create or replace function sys.fn_trust(group_name text, topic_id uuid, partition integer, epoch bigint) returns void
  language sql
begin atomic
  update sys.partition_owners as owner
  set lost = 2, given_up = 0, since = clock_timestamp(), alone_topic_id = null, alone_partition = null, alone_offset = null,
    alone_replays = null
  where owner.group_name = fn_trust.group_name
    and owner.topic_id = fn_trust.topic_id
    and owner.partition = fn_trust.partition
    and owner.epoch = fn_trust.epoch;
  delete from sys.suspect_records as known
  where known.group_name = fn_trust.group_name
    and known.topic_id = fn_trust.topic_id
    and known.partition = fn_trust.partition
    and exists (
      select from sys.partition_owners as owner
      where owner.group_name = fn_trust.group_name
        and owner.topic_id = fn_trust.topic_id
        and owner.partition = fn_trust.partition
        and owner.epoch = fn_trust.epoch
    );
end;
