-- How long an Idempotency-Key is known.

-- An application may be without a network for days before it repeats what its user did. A service repeats at once, and may use a key for each of
-- its many messages.
create or replace function tidings.key_kept(p_of_user boolean) returns interval
language sql immutable as $$
	select case when p_of_user then interval '7 days' else interval '24 hours' end
$$;
