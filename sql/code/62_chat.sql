-- Chat: conversations, who takes part, what was said. A message goes to chat/<conversation>, and to chats/<user> of everyone who
-- takes part: so that one subscription, with one cursor, is all of a user's conversations.

-- Who takes part.
create or replace function tidings.participants(p_conversation uuid) returns text[]
language plpgsql stable as $$
begin
	return array(select p.user_id from participant p where p.conversation_id = p_conversation order by p.joined_at, p.user_id);
end
$$;

create or replace function tidings.users_json(p_users text[]) returns json
language plpgsql immutable as $$
begin
	return coalesce(array_to_json(array(select user_json(p_users[i]) from generate_series(1, cardinality(p_users)) as i)), '[]');
end
$$;

-- Whether an ordinary user may let these in: where accounts count, those who have none would only be inboxes that nobody reads.
create or replace function tidings.may_invite(q tidings.request, p_users text[]) returns boolean
language plpgsql stable as $$
begin
	return not coalesce(q.require_user, false) or q.role in ('service', 'admin')
		or not exists (select from unnest(p_users) as u where not account_holds(u, 'user'));
end
$$;

-- A conversation with these, and with whoever creates it: an ordinary user takes part, a service or admin only when named. Created
-- again by the same it is as it is.
create or replace function tidings.act_create_conversation(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_id uuid := coalesce((q.data ->> 'conversation_id')::uuid, gen_random_uuid());
	v_users text[] := array(
		select distinct u.id collate "C" from (
			select q.user_id as id where q.role not in ('service', 'admin')
			union all select json_array_elements_text(q.data -> 'participants')) u order by 1);
begin
	if false = any (array(select addressable(u) from unnest(v_users) as u)) then
		return refusal('invalid', 'No topic can be named after one of these user ids');
	elsif not may_invite(q, v_users) then
		return refusal('invalid', 'One of these users has no active account');
	end if;
	insert into conversation (id, creator) values (v_id, q.user_id) on conflict do nothing;
	if found then
		insert into participant (conversation_id, user_id) select v_id, u from unnest(v_users) as u;
	elsif (select c.creator from conversation c where c.id = v_id) is distinct from q.user_id
		or q.role not in ('service', 'admin') and not q.user_id = any (participants(v_id))
	then
		return refusal('forbidden');
	end if;
	return answered(q, 'conversation_created', json_build_object('conversation_id', v_id, 'participants', users_json(participants(v_id))));
end
$$;

-- Lets someone in: who takes part may, services and admins. Nobody comes in uninvited, nor back who was put out: the creator no more than
-- others.
create or replace function tidings.act_join(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_id uuid := q.data ->> 'conversation_id';
	v_user text := coalesce(q.data ->> 'user_id', q.user_id);
begin
	perform from conversation c where c.id = v_id for no key update;
	if not found then
		return refusal('not_found');
	elsif not (q.role in ('service', 'admin') or exists (
		select from participant p where p.conversation_id = v_id and p.user_id = q.user_id))
	then
		return refusal('forbidden');
	elsif not addressable(v_user) then
		return refusal('invalid', 'No topic can be named after this user_id');
	elsif not may_invite(q, array[v_user]) then
		return refusal('invalid', 'This user has no active account');
	elsif (select count(*) from participant p where p.conversation_id = v_id and p.user_id <> v_user) >= 100 then
		return refusal('invalid', 'The conversation has 100 participants already');
	end if;
	insert into participant (conversation_id, user_id) values (v_id, v_user) on conflict do nothing;
	return answered(q, 'joined', json_build_object('conversation_id', v_id, 'user_id', user_json(v_user),
		'participants', users_json(participants(v_id))));
end
$$;

create or replace function tidings.act_chat_message(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_conversation uuid := q.data ->> 'conversation_id';
	v_topics text[] := array['chat/' || v_conversation];
	v_verdict text;
	v_said tidings.chat_message%rowtype;
	v_data json;
	v_put record;
begin
	-- Who takes part is asked with the lock in hand: so nobody's message comes after they were put out.
	perform from conversation c where c.id = v_conversation for no key update;
	v_verdict := verdict(q.user_id, q.role, v_topics[1], 'publish');
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	end if;
	insert into chat_message (conversation_id, user_id, sender, message, created_at)
		values (v_conversation, q.user_id, case when q.role = 'service' then q.data ->> 'sender' end, q.data ->> 'message', clock_timestamp())
		returning * into v_said;
	v_data := chat_json(v_said);
	v_topics := v_topics || array(select 'chats/' || p.user_id from participant p where p.conversation_id = v_conversation);
	select p.seqs[1] as seq, p.clients[1] as clients into v_put from put(q, v_topics,
		array(select message_text('chat_message', t, q.correlation, 'data', v_data) from unnest(v_topics) as t),
		array_fill(null::text, array[cardinality(v_topics)])) p;
	return answered(q, 'chat_message_sent', json_build_object('message_id', v_said.id, 'conversation_id', v_conversation, 'seq', v_put.seq),
		v_topics[1], v_put.seq, v_put.clients);
end
$$;

-- sender is what is shown; user_id is who it was, whatever a service calls itself.
create or replace function tidings.chat_json(p_said tidings.chat_message) returns json
language plpgsql stable as $$
begin
	return (
		select row_to_json(d) from (
			select p_said.conversation_id, p_said.id as message_id,
				case when p_said.sender is null then user_json(p_said.user_id) else to_json(p_said.sender) end as sender,
				user_json(p_said.user_id) as user_id, p_said.message, stamp(p_said.created_at) as timestamp) d);
end
$$;

create or replace function tidings.act_typing(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_conversation uuid := q.data ->> 'conversation_id';
	v_topics text[] := array['chat/' || v_conversation];
	v_verdict text := verdict(q.user_id, q.role, v_topics[1], 'publish');
	v_data json := json_strip_nulls(json_build_object('conversation_id', v_conversation, 'user_id', user_json(q.user_id),
		'is_typing', (q.data ->> 'is_typing')::boolean));
	v_clients int8;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	end if;
	v_topics := v_topics || array(
		select 'chats/' || p.user_id from participant p where p.conversation_id = v_conversation and p.user_id <> q.user_id);
	select p.clients[1] into v_clients from put(q, v_topics,
		array(select message_text('typing', t, q.correlation, 'data', v_data) from unnest(v_topics) as t),
		array_fill(q.connection, array[cardinality(v_topics)]), true) p;
	return answered(q, 'typing_sent', json_build_object('conversation_id', v_conversation), v_topics[1], null, v_clients);
end
$$;

-- The newest messages, or those before one; oldest first. more: there are older ones.
create or replace function tidings.act_get_history(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_conversation uuid := q.data ->> 'conversation_id';
	v_before int8 := coalesce((q.data ->> 'before')::int8, 9223372036854775807);
	v_limit int8 := least(greatest(coalesce((q.data ->> 'limit')::int8, 50), 1), 100);
	v_verdict text := verdict(q.user_id, q.role, 'chat/' || v_conversation, 'subscribe');
	v_messages json[];
	v_first int8;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	end if;
	select array_agg(chat_json(m) order by m.id), min(m.id) into v_messages, v_first
		from (select * from chat_message o where o.conversation_id = v_conversation and o.id < v_before order by o.id desc limit v_limit) m;
	return answered(q, 'chat_history', json_build_object('conversation_id', v_conversation,
		'messages', coalesce(array_to_json(v_messages), '[]'),
		'more', exists (select from chat_message m where m.conversation_id = v_conversation and m.id < v_first)));
end
$$;

-- How many messages, or rows of who takes part, an act that was carried out has made: what its sender is charged for.
create or replace function tidings.act_size(p_type text, p_data json) returns int8
language plpgsql stable security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	if p_type in ('chat_message', 'typing') then
		return 1 + (select count(*) from participant p where p.conversation_id = (p_data ->> 'conversation_id')::uuid);
	elsif p_type = 'create_conversation' then
		return 1 + coalesce(json_array_length(p_data -> 'participants'), 0);
	end if;
	return 1;
end
$$;
