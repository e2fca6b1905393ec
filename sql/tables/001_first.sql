-- The tables and the roles. Programs log in as roles that may call functions and nothing else; the functions (code/) run as
-- tidings_owner, which owns everything and logs in nowhere. A later file that changes what a function returns drops that function.

do $$
declare
	missing text;
begin
	foreach missing in array array['tidings_owner', 'tidings_publisher', 'tidings_reader', 'tidings_status', 'tidings_sidecar'] loop
		if not exists (select from pg_roles where rolname = missing) then
			execute format('create role %I %s', missing, case when missing = 'tidings_owner' then 'nologin' else 'login' end);
		end if;
	end loop;
	if (select rolcanlogin from pg_roles where rolname = 'tidings_owner') then
		raise exception 'tidings: the role tidings_owner can log in, and must not: alter role tidings_owner nologin';
	end if;
	execute format('grant tidings_owner to %I', current_user);
	execute format('grant create on database %I to tidings_owner', current_database());
	execute format('grant connect on database %I to tidings_publisher, tidings_reader, tidings_status, tidings_sidecar', current_database());
end
$$;

-- Functions are for those whom code/90_grants.sql names.
alter default privileges for role tidings_owner revoke execute on functions from public;

alter schema tidings owner to tidings_owner;
revoke all on schema tidings from public;
grant usage on schema tidings to tidings_publisher, tidings_reader, tidings_status, tidings_sidecar;
grant select on tidings.migration, tidings.code to tidings_owner; -- for tidings.applied()

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

create index diagnosis_owner on tidings.diagnosis (owner);
create index diagnosis_grant_user_id on tidings.diagnosis_grant (user_id);

-- The topics. A row is locked by the short transaction that appends, so seq is dense and in commit order; but it is not written, so a
-- long snapshot has no versions of it to keep. The last seq is that of the newest message, or first_seq - 1 when none is kept:
-- whoever deletes a topic's newest messages by hand gives the topic a new epoch.
create table tidings.topic (
	id bigint generated always as identity primary key,
	-- Checked at every update of the row: counting in the pattern would take 10 µs.
	name text collate "C" not null unique check (name ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(name) <= 128),
	epoch text not null default left(gen_random_uuid()::text, 8),
	first_seq bigint not null default 1 -- the oldest that is kept, or the next when none is
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- What all epochs have in common: cluster_tag() is made of it.
create table tidings.numbering (
	one boolean primary key default true check (one),
	renewed text not null default left(gen_random_uuid()::text, 8), -- another one: every numbering is another
	by_timeline boolean not null default true -- a failover makes every numbering another: it may have lost what was acknowledged
);

insert into tidings.numbering default values;

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
	revocation boolean not null default false, -- ends its to_user's subscriptions: they get nothing of what is sequenced after it
	primary key (topic_id, seq)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
	autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);

create index message_unsent on tidings.message (topic_id, to_user, seq) where to_user is not null and not sent;
create index message_revocation on tidings.message (topic_id, seq) where revocation;

-- What waits for its time, or was published by somebody else's transaction: the relay moves it into the queue.
create table tidings.outbox (
	id bigint generated always as identity primary key,
	deliver_at timestamptz not null check (isfinite(deliver_at)), -- when the relay looks at it next
	at_once boolean not null default false, -- nobody asked for a time: deliver_at is when it came, by the clock that the server had then
	expires_at timestamptz check (isfinite(expires_at)),
	ephemeral boolean not null default false,
	exclude uuid,
	to_user text,
	topic text not null,
	body text,
	reading_id bigint, -- instead of a body: a reading that is judged and pushed
	attempts int not null default 0, -- how often it could not be relayed
	last_error text,
	failed_at timestamptz, -- it was given up, and stays here for an operator to look at
	check (num_nonnulls(body, reading_id) = 1)
);

create index outbox_due on tidings.outbox (deliver_at, id) where failed_at is null;
create index outbox_ahead on tidings.outbox (deliver_at) where at_once;
create index outbox_failed on tidings.outbox (failed_at) where failed_at is not null;

-- One row, written every few seconds at most: what the relay knows of its last turns. After a crash of the server it begins anew.
create unlogged table tidings.relay_state (
	one boolean primary key default true check (one),
	idle_at timestamptz not null default '-infinity',   -- when nothing was left that was due
	warned_at timestamptz not null default '-infinity', -- when the log was last told that something waits
	look_from timestamptz not null default '-infinity', -- where the outbox is read from until look_again_at: what lies before it is
	look_again_at timestamptz not null default '-infinity' -- dead, and slow to pass over while an old snapshot keeps it
) with (fillfactor = 10);

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

-- A row for each topic that a connection listens to; with topic_id 0 it stands for itself.
create unlogged table tidings.connection (
	id uuid not null,
	node_id uuid not null,
	topic_id bigint not null,
	user_id text, -- null: anonymous
	transport text not null,
	connected_at timestamptz not null,
	last_activity timestamptz, -- this and the next two: what its node told when it was asked to
	state text,
	reported_at timestamptz
);

-- In this order: of two that cost the same in an empty table the planner takes the newer one.
create index connection_topic on tidings.connection (topic_id, user_id);
create index connection_node on tidings.connection (node_id);
alter table tidings.connection add primary key (id, topic_id);
create index connection_user on tidings.connection (user_id);

-- Live health. What is stored here stays: nothing but the queue is trimmed.

-- Who exists; asked where TIDINGS_REQUIRE_USER=yes. An operator who has such a table already replaces this one by a view on it,
-- and calls tidings.revoke() when a user goes.
create table tidings.app_user (
	id text primary key,
	active boolean not null default true
);

-- Clinicians who may read a user's health and set its thresholds.
create table tidings.health_grant (
	user_id text not null,
	clinician_id text not null,
	primary key (user_id, clinician_id)
);

create index health_grant_clinician on tidings.health_grant (clinician_id);

create table tidings.health_threshold (
	user_id text not null,
	metric text not null,
	low float8,  -- a value below it is outside
	high float8, -- a value above it is outside
	severity text not null default 'high' check (severity in ('low', 'normal', 'high', 'critical')),
	revision uuid not null default gen_random_uuid(), -- another one when the limits are others
	primary key (user_id, metric),
	check (low is not null or high is not null),
	check (low < high),
	check (low > '-infinity' and low < 'infinity' and high > '-infinity' and high < 'infinity') -- so not NaN either
);

-- Where a metric that has a threshold was last, by the live readings and, apart from them, by those that came late. The row is locked
-- while a reading is judged, which is never in anybody else's transaction.
create table tidings.health_state (
	user_id text not null,
	metric text not null,
	revision uuid,	-- of the threshold that the sides are about
	side text not null default 'inside' check (side in ('inside', 'low', 'high')),
	measured_at timestamptz not null default '-infinity',
	late_side text not null default 'inside' check (late_side in ('inside', 'low', 'high')),
	late_measured_at timestamptz not null default '-infinity',
	primary key (user_id, metric)
) with (fillfactor = 50);

create table tidings.health_reading (
	id bigint generated always as identity primary key,
	user_id text not null check (user_id ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(user_id) <= 114),
	metric text not null check (metric <> '' and char_length(metric) <= 128),
	value float8 not null check (value > '-infinity' and value < 'infinity'), -- so not NaN either
	unit text check (char_length(unit) <= 128),
	measured_at timestamptz not null default now() check (isfinite(measured_at)),
	alert text, -- 'low' or 'high' when it crossed its threshold; whatever an inserter says
	pushed boolean not null default false, -- nobody has to be told: an import of old readings says true, and is not judged either
	received_at timestamptz not null default clock_timestamp()
);

-- In this order: of two that cost the same in an empty table the planner takes the newer one.
create index health_reading_time on tidings.health_reading (user_id, measured_at, id);
create index health_reading_metric on tidings.health_reading (user_id, metric, measured_at, id);

create table tidings.conversation (
	id uuid primary key, -- its row is locked by whoever sends or lets someone in: message ids are in the order of seqs
	creator text not null,
	created_at timestamptz not null default clock_timestamp()
);

create table tidings.participant (
	conversation_id uuid not null references tidings.conversation on delete cascade,
	user_id text not null check (user_id ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(user_id) <= 114),
	joined_at timestamptz not null default clock_timestamp(),
	primary key (conversation_id, user_id)
);

create index participant_user on tidings.participant (user_id);

create table tidings.chat_message (
	conversation_id uuid not null references tidings.conversation on delete cascade,
	id bigint generated always as identity,
	user_id text not null, -- who sent it
	sender text,	       -- the name that a service gave
	message text not null,
	created_at timestamptz not null,
	primary key (conversation_id, id)
);

create table tidings.notification_preference (
	user_id text primary key,
	types jsonb not null default '{}', -- type: on or off; on when not named
	quiet_start time,
	quiet_end time,
	time_zone text check (octet_length(time_zone) <= 64), -- one that this machine does not know holds nothing
	check (num_nulls(quiet_start, quiet_end, time_zone) in (0, 3)),
	check (quiet_start <> quiet_end)
);

create table tidings.notification (
	id uuid primary key default gen_random_uuid(),
	user_id text not null check (user_id ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(user_id) <= 114),
	type text not null check (type in ('health_alert', 'medication_reminder', 'appointment_reminder', 'system')),
	title text not null check (char_length(title) <= 256),
	message text not null check (char_length(message) <= 4000),
	priority text not null default 'normal' check (priority in ('low', 'normal', 'high', 'critical')),
	publisher text,	     -- who may read the receipt, beside services; null: an alert of ours
	correlation text,    -- JSON text
	created_at timestamptz not null default now(),
	due_at timestamptz not null default now(), -- before it nobody sees it
	push_at timestamptz default clock_timestamp() check (isfinite(push_at)), -- when the relay has to look at it next; null: never
	sent_at timestamptz, -- the first time it went into the queue
	attempts int not null default 0, -- how often it did
	failures int not null default 0, -- how often it could not be relayed, since it last could
	last_error text,
	failed_at timestamptz, -- the relay gave it up
	acked_at timestamptz,
	read_at timestamptz
) with (fillfactor = 80);

create index notification_newest on tidings.notification (user_id, due_at, id);
create index notification_unread on tidings.notification (user_id, due_at, id) where read_at is null;
create index notification_push_at on tidings.notification (push_at, id) where push_at is not null;
create index notification_ahead on tidings.notification (push_at) where push_at is not null and (sent_at is not null or due_at <= created_at);
create index notification_failed on tidings.notification (failed_at) where failed_at is not null;
create index notification_critical on tidings.notification (user_id, due_at)
	where priority = 'critical' and acked_at is null and sent_at is not null;

-- Which notification a message of notifications/<user> was: a critical one is several.
create table tidings.notification_push (
	user_id text not null,
	seq bigint not null,
	notification_id uuid not null references tidings.notification on delete cascade,
	primary key (user_id, seq)
);

create index notification_push_notification on tidings.notification_push (notification_id);

-- Rights that a transaction withdraws, until it commits: see tidings.end_withdrawn(). A row for each statement; users and topics run in
-- parallel.
create table tidings.withdrawal (
	id bigint generated always as identity primary key,
	kind text not null check (kind in ('right', 'account', 'told')), -- by a row; all that a user has; by tidings.revoke()
	users text[] not null, -- '': who has no token; null: everybody
	topics text[]	       -- null for accounts
);

-- The channels of NOTIFY. PostgreSQL lets every role listen and notify on any channel whose name it knows: so only the owner's functions
-- know these.
create table tidings.channel (
	purpose text primary key check (purpose in ('messages', 'ephemeral', 'outbox', 'control')),
	name text not null unique check (name ~ '^[a-z0-9_]{1,63}$')
);

insert into tidings.channel
	select purpose, 'tidings_' || substr(encode(sha256(convert_to(gen_random_uuid()::text || gen_random_uuid(), 'UTF8')), 'hex'), 1, 32)
	from unnest(array['messages', 'ephemeral', 'outbox', 'control']) as purpose;

-- What a client says, and what it is answered: the argument and the result of every tidings.act_…(), see tidings.act().
create type tidings.request as (
	user_id text, role text, connection text, data json, correlation text, queue_max int8, queue_min_age_s int8);
create type tidings.answer as (outcome text, detail text, reply text, topic text, seq int8, clients int8);

reset role;
