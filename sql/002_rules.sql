-- Who may do what: the two functions that an operator replaces to ask their own tables. They are PL/pgSQL because it keeps its plans:
-- an SQL function that cannot be inlined is planned anew at every call. Only functions that run as the owner, with a search_path
-- of their own, call these: so they have neither, which would cost more than the rest of them.

set local role tidings_owner;

-- May this user (null: nobody in particular) with this role do `action` ('subscribe' or 'publish') to `topic`?
create function tidings.authorize(user_id text, role text, topic text, action text) returns boolean
language plpgsql stable as $$
declare
	v_diagnosis bigint;
begin
	if role = 'admin' then
		return true;
	elsif role = 'service' then
		return action = 'publish';
	elsif topic ~ '^diagnosis/[1-9][0-9]{0,17}$' then
		v_diagnosis := substr(topic, 11)::bigint;
		if user_id is null then
			return action = 'subscribe' and exists (select from tidings.diagnosis d where d.id = v_diagnosis and d.public);
		end if;
		return exists (select from tidings.diagnosis d where d.id = v_diagnosis and d.owner = authorize.user_id)
			or exists (select from tidings.diagnosis_grant g where g.diagnosis_id = v_diagnosis and g.user_id = authorize.user_id);
	end if;
	return coalesce(topic in ('health/' || user_id, 'notifications/' || user_id), false);
end
$$;

-- Is there such a thing? Asked for diagnoses only: every other topic exists as soon as somebody names it.
create function tidings.topic_exists(topic text) returns boolean
language plpgsql stable as $$
begin
	return topic !~ '^diagnosis/[1-9][0-9]{0,17}$' or exists (select from tidings.diagnosis d where d.id = substr(topic, 11)::bigint);
end
$$;

-- 'ok', 'forbidden' or 'not_found'. The last is for the log, and for those who may publish everywhere: an ordinary user is told
-- the same as for a diagnosis that is someone else's.
create function tidings.verdict(user_id text, role text, topic text, action text) returns text
language plpgsql stable as $$
begin
	return case
		when not tidings.topic_exists(topic) then 'not_found'
		when tidings.authorize(user_id, role, topic, action) then 'ok'
		else 'forbidden'
	end;
end
$$;

revoke execute on all functions in schema tidings from public;

reset role;
