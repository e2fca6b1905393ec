-- Devices: how far each has confirmed what it was sent. And how far any client has, per topic.

set local role tidings_owner;

-- What a client goes on from that keeps no cursor, and says its name instead. By the topic's name: one that is made anew has another epoch,
-- and the device is told so.
create table tidings.device (
	user_id text not null,
	name text collate "C" not null,
	topic text collate "C" not null,
	epoch text not null, -- that the seq is of, with the cluster's part
	seq bigint not null, -- all up to it is confirmed, or lies before what the device has begun with
	used_at timestamptz not null, -- to a minute: so most updates touch no index
	primary key (user_id, name, topic)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

create index device_used_at on tidings.device (used_at);

-- How far some client has confirmed what it was sent: what lies behind it waits for those without cursor and device.
alter table tidings.delivered add column confirmed bigint not null default 0;
update tidings.delivered set confirmed = seq;

-- They take more, or return more.
do $$
declare
	v_function regprocedure;
begin
	for v_function in select p.oid from pg_proc p where p.pronamespace = 'tidings'::regnamespace and p.proname in ('attach', 'flush', 'retain') loop
		execute format('drop function %s', v_function);
	end loop;
end
$$;

reset role;
