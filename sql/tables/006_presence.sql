-- Who is on a topic (spec section 7, "Presence"): see sql/code/42_roster.sql. None of it needs a log, as with connection.

set local role tidings_owner;

-- Users who have lost a connection to a topic, for as long as they may come back: TIDINGS_PRESENCE_GRACE, and some seconds.
create unlogged table tidings.departure (
	topic_id bigint not null,
	user_id text not null,
	since timestamptz not null,   -- when they came
	left_at timestamptz not null, -- when the last of their connections, so far, went
	primary key (topic_id, user_id)
) with (fillfactor = 50);

create index departure_age on tidings.departure (left_at);

-- Topics whose roster somebody watches, and on which nodes.
create unlogged table tidings.roster_watch (
	topic_id bigint not null,
	node_id uuid not null,
	primary key (topic_id, node_id)
);

create index roster_watch_node on tidings.roster_watch (node_id);

-- Where its user was on the topic before it, and has never left; null: since connected_at.
alter table tidings.connection add column since timestamptz;

-- TIDINGS_PRESENCE_GRACE as the node has it; null: TIDINGS_PRESENCE=no.
alter table tidings.node add column presence_grace_ms bigint;

reset role;
