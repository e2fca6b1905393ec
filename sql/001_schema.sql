-- The tables and the roles. Programs log in as roles that may call functions and nothing else; the functions run as
-- tidings_owner, which owns everything and logs in nowhere.

do $$
declare
	missing text;
begin
	foreach missing in array array['tidings_owner', 'tidings_publisher', 'tidings_reader', 'tidings_sidecar'] loop
		if not exists (select from pg_roles where rolname = missing) then
			execute format('create role %I %s', missing, case when missing = 'tidings_owner' then 'nologin' else 'login' end);
		end if;
	end loop;
	execute format('grant tidings_owner to %I', current_user);
	execute format('grant create on database %I to tidings_owner', current_database());
	execute format('grant connect on database %I to tidings_publisher, tidings_reader, tidings_sidecar', current_database());
end
$$;

alter schema tidings owner to tidings_owner;
revoke all on schema tidings from public;
grant usage on schema tidings to tidings_publisher, tidings_reader, tidings_sidecar;

set local role tidings_owner;

-- Whom a diagnosis belongs to. An operator who has such a table already replaces this one by a view on it.
create table tidings.diagnosis (
	id bigint primary key,
	owner text not null,
	public boolean not null default false -- may be watched without a token where TIDINGS_ANONYMOUS=public
);

create table tidings.diagnosis_grant (
	diagnosis_id bigint not null references tidings.diagnosis on delete cascade,
	user_id text not null,
	primary key (diagnosis_id, user_id)
);

-- The counter of each topic. Its row is locked by the short transaction that appends, so seq is dense and in commit order.
create table tidings.topic (
	id bigint generated always as identity primary key,
	-- Checked at every update of the row: counting in the pattern would take 10 µs.
	name text collate "C" not null unique check (name ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(name) <= 128),
	epoch text not null default substr(md5(gen_random_uuid()::text), 1, 8),
	last_seq bigint not null default 0,
	first_seq bigint not null default 1 -- the oldest that is kept; last_seq + 1 when none is
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- How far some client has been sent. A table of its own: the sidecars' writing here never waits for an appender's lock.
create table tidings.delivered (
	topic_id bigint primary key,
	seq bigint not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- The queue. The body is stored as it goes out, seq aside.
create table tidings.message (
	topic_id bigint not null,
	seq bigint not null,
	created_at timestamptz not null,
	expires_at timestamptz,
	exclude uuid,	      -- this connection does not get it
	to_user text,	      -- only this user's connections get it
	sent boolean not null default false, -- kept for messages with to_user only: delivered.seq can't tell whether that user got it
	body text not null,
	primary key (topic_id, seq)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
	autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);

create index message_unsent on tidings.message (topic_id, to_user, seq) where to_user is not null and not sent;

-- What waits for its time, or was published by somebody else's transaction: the relay moves it into the queue.
create table tidings.outbox (
	id bigint generated always as identity primary key,
	deliver_at timestamptz not null,
	expires_at timestamptz,
	ephemeral boolean not null default false,
	exclude uuid,
	to_user text,
	topic text not null,
	body text not null
);

create index outbox_due on tidings.outbox (deliver_at, id);

-- First replies, for Idempotency-Key.
create table tidings.idempotency (
	caller text not null,
	key text not null,
	hash text not null,   -- of path and body
	results jsonb,	      -- per item: outcome, seq, clients
	created_at timestamptz not null,
	primary key (caller, key)
) with (fillfactor = 50); -- written twice: the key before, its results after

create index idempotency_age on tidings.idempotency (created_at);

-- The last effectiveness broadcast of a recommendation.
create table tidings.effectiveness (
	topic_id bigint not null,
	recommendation_id bigint not null,
	value numeric not null,
	primary key (topic_id, recommendation_id)
);

-- Who is connected where. A node writes its rows anew after a crash of the server, so they need no log.
create unlogged table tidings.node (
	id uuid primary key,
	started_at timestamptz not null,
	heartbeat_at timestamptz not null,
	connections bigint not null,
	opened bigint not null -- since its start
) with (fillfactor = 50);

create unlogged table tidings.presence (
	topic_id bigint not null,
	node_id uuid not null,
	clients bigint not null,
	primary key (topic_id, node_id)
) with (fillfactor = 50);

create unlogged table tidings.connection (
	id uuid primary key,
	node_id uuid not null,
	topic_id bigint not null,
	user_id text, -- null: anonymous
	transport text not null,
	connected_at timestamptz not null
);

create index connection_topic on tidings.connection (topic_id, user_id);
create index connection_node on tidings.connection (node_id);

reset role;
