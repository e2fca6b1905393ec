-- May this user (null: nobody in particular) with this role do `action` ('subscribe', 'publish', or 'presence': see who is on it) to `topic`? Made when it is
-- missing, and never touched again: replace it, to ask your own tables. SQL of one expression is inlined, and costs nothing here.
create function tidings.authorize(user_id text, role text, topic text, action text) returns boolean
language sql stable as $$
	select tidings.default_authorize(user_id, role, topic, action)
$$;
