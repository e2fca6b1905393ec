-- Phones, and what waits to be pushed to them, in the database that tidings is in. Applied once, by a superuser.

create schema push;

-- A phone with the app, by the name that Firebase Cloud Messaging has given it. Your backend writes here.
create table push.device (
	id bigint generated always as identity primary key,
	user_id text not null,
	token text not null unique check (token <> ''),
	created_at timestamptz not null default now()
);
create index device_user_id on push.device (user_id);

-- A notification for a phone, until the push has been taken or is needed no more. No foreign key: tidings, which writes here, waits for nobody's lock.
create table push.waiting (
	notification_id uuid,
	device_id bigint,
	next_at timestamptz not null default clock_timestamp() + interval '10 seconds', -- an app that is open has got it by then
	attempts int not null default 0,
	primary key (notification_id, device_id)
);
create index waiting_next_at on push.waiting (next_at);

-- sent_at is when tidings sends a notification the first time: it is due, its user wants it, and no quiet hours hold it.
create function push.wait() returns trigger
language plpgsql as $$
begin
	insert into push.waiting (notification_id, device_id) select new.id, d.id from push.device d where d.user_id = new.user_id;
	if found then
		notify push;
	end if;
	return null;
end
$$;
create trigger push_waits after update of sent_at on tidings.notification
	for each row when (old.sent_at is null and new.sent_at is not null) execute function push.wait();

-- Needs it no push any more? It was acked or read, or is gone; or, unless it is critical, a client has confirmed it.
create function push.seen(p_notification uuid) returns boolean
language sql stable security definer set search_path = tidings, pg_temp as $$
	select coalesce((
		select n.acked_at is not null or n.read_at is not null or n.priority <> 'critical' and exists (
			select from notification_push p join topic t on t.name = 'notifications/' || p.user_id join delivered d on d.topic_id = t.id
			where p.notification_id = n.id and p.seq <= d.confirmed)
		from notification n where n.id = p_notification), true)
$$;
revoke execute on function push.wait, push.seen from public;

-- tidings runs the trigger and seen() as its own role, which logs in nowhere.
grant usage on schema push to tidings_owner;
grant select (id, user_id) on push.device to tidings_owner;
grant insert on push.waiting to tidings_owner;
alter function push.seen owner to tidings_owner;

-- Who push.py logs in as: it reads no notification, but whether one has been seen.
create role push_sender login;
grant usage on schema push to push_sender;
grant select, delete on push.device to push_sender;
grant select, update, delete on push.waiting to push_sender;
grant execute on function push.seen to push_sender;
