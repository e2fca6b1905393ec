-- Quotas: how many KiB a user may have stored on a day (UTC) of what no queue trims; each row counts as one at least. Services and admins
-- have none.
--
-- The row of a user and day is not written by every request, but by some, chosen by chance, for all: the sum is right to a few percent, and
-- a long snapshot has no versions of it to keep. It is written last in a transaction, and in the order of users: so whoever waits for it
-- waits for a commit.

create or replace function tidings.today() returns date
language sql stable as $$
	select (now() at time zone 'UTC')::date
$$;

create or replace function tidings.has_quota(p_role text, p_max int8) returns boolean
language sql immutable as $$
	select p_max > 0 and p_role not in ('service', 'admin')
$$;

-- Whether a user may have more stored.
--
--	p_max	TIDINGS_USER_DAILY_MAX; 0: no limit
create or replace function tidings.quota_holds(p_user text, p_role text, p_max int8) returns boolean
language plpgsql stable as $$
begin
	return not has_quota(p_role, p_max)
		or coalesce((select q.kib from quota q where q.user_id = p_user and q.day = today()), 0) < p_max;
end
$$;

create or replace function tidings.quota_take(p_user text, p_role text, p_kib int8, p_max int8) returns void
language plpgsql as $$
declare
	v_step int8 := greatest(p_max / 1000, 1);
	v_kib int8 := p_kib - p_kib % v_step + case when random() * v_step < p_kib % v_step then v_step else 0 end;
begin
	if v_kib > 0 and has_quota(p_role, p_max) then
		insert into quota as q (user_id, day, kib) values (p_user, today(), v_kib)
			on conflict on constraint quota_pkey do update set kib = q.kib + excluded.kib;
	end if;
end
$$;
