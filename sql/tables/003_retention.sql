-- How long messages, readings, chat and notifications are kept.

set local role tidings_owner;

-- Limits of the queues of topics whose names begin alike: of several prefixes the longest counts. What is null is as the settings say. A
-- few dozen rows at most: every batch that trims compares its topics with all of them.
create table tidings.policy (
	prefix text collate "C" primary key check (prefix ~ '^[A-Za-z0-9_.:/-]*$' and octet_length(prefix) <= 128), -- '': every topic
	queue_max bigint check (queue_max between 1 and 100000), -- instead of TIDINGS_QUEUE_MAX
	queue_ttl interval check (queue_ttl between interval '1 second' and interval '365 days') -- instead of TIDINGS_QUEUE_TTL
);

-- One row: how far tidings.retain() has come. What lies before it is gone, and dead rows are slow to pass over while an old snapshot
-- keeps them. After a crash of the server it begins anew.
create unlogged table tidings.retained (
	one boolean primary key default true check (one),
	began_at timestamptz not null, -- when it last began with the first of everything
	reading_id bigint not null default 0,
	chat_at timestamptz not null default '-infinity',
	notification_at timestamptz not null default '-infinity'
) with (fillfactor = 10);

-- Readings are deleted in the order of their ids, and need no index more.
create index chat_message_age on tidings.chat_message (created_at);
create index notification_age on tidings.notification (due_at) where push_at is null;

reset role;
