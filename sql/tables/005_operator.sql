-- What the operator's page shows of nodes and connections.

set local role tidings_owner;

alter table tidings.node
	add column draining boolean not null default false, -- it takes no new clients, and asks those that it has to come again elsewhere
	add column reported_at timestamptz; -- when it last told of connections that it was asked about

-- What its node told when it was asked to; null: it was not.
alter table tidings.connection
	add column lag bigint, -- messages of its topics that it has not been given
	add column waiting_bytes bigint; -- of what is on its way to it

reset role;
