-- What the actor of this example writes. No unique key: a delivery that was handled twice would be there twice.
create table deliveries (
  tenant_id text not null,
  message_id uuid not null,
  -- The repository's first, second, third … delivery, as its actor has counted.
  number integer not null,
  kind text not null,
  action text,
  sender text,
  summary text not null
);
