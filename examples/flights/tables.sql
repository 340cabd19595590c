-- What the actors of this example write. Without unique keys where the guarantees should show: a row that came twice
-- would be there twice.
create table flights (
  tenant_id text not null,
  message_id uuid not null,
  -- The airport's first, second, third … flight, as its actor has counted.
  number integer not null,
  -- The row in the file.
  flight integer not null,
  departed_at timestamptz not null,
  delay integer not null,
  distance integer not null,
  destination text not null
);

create table delays (
  tenant_id text not null,
  destination text not null,
  flights integer not null,
  minutes integer not null,
  primary key (tenant_id, destination)
);
