-- Notifications. What comes by them is believed, so the names of their channels (128 random bits) are in no statement's text, no log
-- and no view of activity: only in tidings.channel, and in the functions that run as its owner.

create or replace function tidings.notify(p_purpose text, p_payload text) returns void
language plpgsql as $$
begin
	perform pg_notify((select c.name from tidings.channel c where c.purpose = p_purpose), p_payload);
end
$$;

-- Listens to all channels, in the session that calls it, and to no other; and says how they are called.
create or replace function tidings.listen() returns table (purpose text, name text)
language plpgsql security definer set search_path = tidings, pg_temp as $$
begin
	unlisten *;
	for purpose, name in select c.purpose, c.name from channel c loop
		execute format('listen %I', name);
		return next;
	end loop;
end
$$;
