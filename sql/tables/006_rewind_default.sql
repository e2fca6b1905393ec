-- How far back a client begins that says nothing of it.

set local role tidings_owner;

alter table tidings.policy
	add column rewind_default bigint check (rewind_default between 1 and 100); -- messages, as by rewind=n; null: what waits in the queue

reset role;
