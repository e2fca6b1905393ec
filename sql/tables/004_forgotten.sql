-- What a cursor of a topic that is not there yet hangs on.

set local role tidings_owner;

-- The last transaction that deleted topics: see tidings.new_epoch().
alter table tidings.numbering add column forgotten_by int8 not null default 0;

reset role;
