-- How much a user may have stored on a day, topics that nobody needs any more, notifications that are asked for again and again.

set local role tidings_owner;

-- What users have had stored on a day (UTC): see tidings.quota_take(). After a crash of the server it begins anew.
create unlogged table tidings.quota (
	user_id text not null,
	day date not null,
	kib int8 not null,
	primary key (user_id, day)
) with (fillfactor = 50);

create index quota_day on tidings.quota (day);

-- When the sweep last took messages from it, or found that there are none.
alter table tidings.topic add column empty_at timestamptz;

-- When it last went into the queue.
alter table tidings.notification add column pushed_at timestamptz;

-- Accounts count: TIDINGS_REQUIRE_USER.
alter type tidings.request add attribute require_user boolean;

reset role;
