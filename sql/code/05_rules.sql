-- Who may do what. An operator replaces the two functions of rules/, which ask the defaults here: PL/pgSQL, because it keeps its
-- plans. Only functions that run as the owner, with a search_path of their own, call these: so they have neither, which would cost
-- more than the rest of them.

-- May this user (null: nobody in particular) with this role do `action` ('subscribe', 'publish', or 'presence': see who is on it) to `topic`? Whoever
-- may subscribe sees who else is there, but for those without a token; a service does, too.
create or replace function tidings.default_authorize(user_id text, role text, topic text, action text) returns boolean
language plpgsql stable as $$
declare
	v_diagnosis bigint := tidings.diagnosis_of(topic);
begin
	if role = 'admin' then
		return true;
	elsif role = 'service' and action in ('publish', 'presence') then
		return true;
	elsif topic = 'analytics/trending' then
		return user_id is not null and action = 'subscribe'; -- it names nobody
	elsif role = 'service' and topic !~ '^chats?/' then
		return false; -- of chat it reads what it takes part in: an assistant does
	elsif v_diagnosis is not null then
		if user_id is null then
			return action = 'subscribe' and exists (select from tidings.diagnosis d where d.id = v_diagnosis and d.public);
		end if;
		-- Asked for by its key alone: a plan of when the table was empty might else take all that the owner has.
		return (select d.owner = default_authorize.user_id from tidings.diagnosis d where d.id = v_diagnosis) is true
			or exists (select from tidings.diagnosis_grant g where g.diagnosis_id = v_diagnosis and g.user_id = default_authorize.user_id);
	elsif topic ~ '^chat/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
		return exists (
			select from tidings.participant p
			where p.conversation_id = substr(topic, 6)::uuid and p.user_id = default_authorize.user_id);
	elsif role = 'clinician' and action <> 'publish' and starts_with(topic, 'health/') and exists (
		select from tidings.health_grant g where g.user_id = substr(topic, 8) and g.clinician_id = default_authorize.user_id)
	then
		return true;
	end if;
	return coalesce(topic in ('health/' || user_id, 'notifications/' || user_id, 'chats/' || user_id), false);
end
$$;

-- Is there such a thing? Asked for diagnoses and conversations only: every other topic exists as soon as somebody names it.
create or replace function tidings.default_topic_exists(topic text) returns boolean
language plpgsql stable as $$
declare
	v_diagnosis bigint := tidings.diagnosis_of(topic);
begin
	if v_diagnosis is not null then
		return exists (select from tidings.diagnosis d where d.id = v_diagnosis);
	elsif topic ~ '^chat/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
		return exists (select from tidings.conversation c where c.id = substr(topic, 6)::uuid);
	end if;
	return true;
end
$$;

-- Where TIDINGS_REQUIRE_USER=yes: is this someone who may do anything at all? Users are in tidings.app_user, and active; services and
-- admins need no account, and nobody in particular has none.
create or replace function tidings.account_holds(user_id text, role text) returns boolean
language plpgsql stable as $$
begin
	return user_id is null or role in ('service', 'admin')
		or exists (select from tidings.app_user u where u.id = account_holds.user_id and u.active);
end
$$;

-- Topics of tidings' own, which an operator watches: administrators alone, whatever authorize() says, and nobody publishes to them.
create or replace function tidings.is_operators(topic text) returns boolean
language sql immutable as $$
	select starts_with(topic, 'tidings/')
$$;

-- 'ok', 'forbidden' or 'not_found'. The last is for the log, and for those who may publish everywhere: an ordinary user is told
-- the same as for a diagnosis that is someone else's.
--
--	require_user	accounts count: TIDINGS_REQUIRE_USER
create or replace function tidings.verdict(user_id text, role text, topic text, action text, require_user boolean default false) returns text
language plpgsql stable as $$
begin
	return case
		when tidings.is_operators(topic) then case when role = 'admin' and action <> 'publish' then 'ok' else 'forbidden' end
		when require_user and not tidings.account_holds(user_id, role) then 'forbidden'
		when not tidings.topic_exists(topic) then 'not_found'
		when tidings.authorize(user_id, role, topic, action) then 'ok'
		else 'forbidden'
	end;
end
$$;
