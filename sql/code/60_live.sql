-- Whatever a client says that touches the database comes in here: from a WebSocket, by POST, or by a service's broadcast.

create or replace function tidings.refusal(p_outcome text, p_detail text default null) returns tidings.answer
language sql immutable as $$
	select row(p_outcome, p_detail, null, null, null, null)::tidings.answer
$$;

create or replace function tidings.answered(p_request tidings.request, p_type text, p_data json, p_topic text default null,
	p_seq int8 default null, p_clients int8 default null) returns tidings.answer
language plpgsql as $$
begin
	return row('ok', null, '{"type":' || to_json(p_type) || ',"data":' || p_data || ',"timestamp":"' || tidings.stamp(clock_timestamp())
		|| '"' || coalesce(',"correlation_id":' || p_request.correlation, '') || '}', p_topic, p_seq, p_clients)::tidings.answer;
end
$$;

-- Appends what a request made; the arrays run in parallel, p_excludes being connections that do not get it.
create or replace function tidings.put(p_request tidings.request, p_topics text[], p_bodies text[], p_excludes text[],
	p_ephemeral boolean default false, out seqs int8[], out clients int8[])
language plpgsql as $$
declare
	v_none text[] := array_fill(null::text, array[cardinality(p_topics)]);
begin
	select a.seqs, a.clients into put.seqs, put.clients
		from append(p_topics, p_bodies, array_fill(p_ephemeral::int::int8, array[cardinality(p_topics)]), v_none, p_excludes, v_none,
			v_none::int8[], v_none, v_none, p_request.queue_max, p_request.queue_min_age_s) a;
end
$$;

-- What may be said with a type that refuses what it does not know, as in src/domain/input/client_type.c: one that changes something, or asks
-- for what is told of a diagnosis. null: what else is said with it is passed over.
create or replace function tidings.act_members(p_type text) returns text[]
language sql immutable as $$
	select case p_type
		when 'health_update' then '{metric,value,unit,timestamp,user_id}'::text[]
		when 'set_threshold' then '{metric,low,high,severity,user_id}'
		when 'create_conversation' then '{conversation_id,participants}'
		when 'join' then '{conversation_id,user_id}'
		when 'chat_message' then '{conversation_id,message,sender}'
		when 'typing' then '{conversation_id,is_typing}'
		when 'notify' then '{user_id,type,title,message,priority,deliver_at}'
		when 'set_preferences' then '{types,quiet_hours}'
		when 'mark_read' then '{id}'
		when 'ack' then '{topic,seq,id}'
		when 'submit_feedback' then '{diagnosis_id,rating,recommendation_id,effectiveness,comment,user_id}'
		when 'rate_feedback' then '{feedback_id,rating,effectiveness}'
		when 'comment_feedback' then '{feedback_id,comment}'
		when 'withdraw_feedback' then '{feedback_id}'
		when 'get_feedback' then '{diagnosis_id,recommendation_id,before,limit}'
		when 'recommend' then '{diagnosis_id,herb,condition,data,replaces,reason}'
		when 'decide_recommendation' then '{recommendation_id,status,reason}'
		when 'get_recommendations' then '{diagnosis_id,status,before,limit}'
		when 'get_analytics' then '{diagnosis_id,days}'
		when 'get_effectiveness' then '{recommendation_id,days}'
		when 'get_trending' then '{by,condition,days,sort,limit}'
		when 'predict' then '{diagnosis_id}'
		when 'get_models' then '{}'
	end
$$;

-- What an act stores for good: for its quota. What changes no more than a row that is there stores nothing.
create or replace function tidings.act_kib(p_type text, p_data json) returns int8
language sql immutable as $$
	select case
		when tidings.act_members(p_type) is null or p_type in ('set_threshold', 'set_preferences', 'typing', 'mark_read', 'ack',
			'rate_feedback', 'comment_feedback', 'withdraw_feedback', 'get_feedback', 'decide_recommendation', 'get_recommendations', 'get_analytics', 'get_effectiveness',
			'get_trending', 'get_models') then 0
		when p_type = 'create_conversation' then 1 + coalesce(json_array_length(p_data -> 'participants'), 0)
		else 1 + octet_length(p_data::text) / 1024 end
$$;

-- One act in one transaction.
--
--	p_user, p_role	from the token
--	p_connection	the sender's, which does not get what it said itself; null by HTTP
--	p_data		its members, their kinds and lengths already seen to: here is decided what they mean and who may. One that is not
--			known where something would be changed is refused: a typo must not take away what it misspells
--	p_correlation	the JSON text of its correlation_id, or null
--	p_require_user	accounts count (so no verdict below has to ask): a connection may outlive its own
--	p_daily_max	see quota_holds()
--	p_predictions	TIDINGS_PREDICTIONS: off | propose | apply
--	outcome		ok | forbidden | not_found | over_quota | invalid | invalid_member (detail is a sentence that begins with the member's name)
--			| settled (it is decided or withdrawn already), with detail, a sentence, where it helps. As in verdict(), an ordinary user
--			is told the same for the second and the third
--	reply		the whole reply, when ok
--	topic …		of the message that was published, when one was; its seq is null when it is ephemeral or for later
--
-- Without bitmap scans pages are read in the order of their index, however large the tables have become since the plan was made.
create or replace function tidings.act(p_user text, p_role text, p_connection text, p_type text, p_data json, p_correlation text,
	p_queue_max int8, p_queue_min_age_s int8, p_require_user boolean default false, p_daily_max int8 default 0, p_predictions text default 'propose')
returns table (outcome text, detail text, reply text, topic text, seq int8, clients int8)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
	q request := row(p_user, p_role, p_connection, p_data, one_line(p_correlation), p_queue_max, p_queue_min_age_s, p_require_user, p_predictions);
	a answer;
	v_unknown text;
	v_kib int8 := act_kib(p_type, p_data);
begin
	for v_turn in 1 .. 3 loop
		begin
			v_unknown := (select k from json_object_keys(p_data) as k where k <> all (act_members(p_type)) limit 1);
			if p_user is null or p_require_user and not account_holds(p_user, p_role) then
				a := refusal('forbidden');
			elsif v_unknown is not null then
				a := refusal('invalid', left(v_unknown, 64) || ' is not known here');
			elsif v_kib > 0 and not quota_holds(p_user, p_role, p_daily_max) then
				a := refusal('over_quota');
			else
				case p_type
					when 'health_update' then a := act_health_update(q);
					when 'set_threshold' then a := act_set_threshold(q);
					when 'get_thresholds' then a := act_get_thresholds(q);
					when 'get_health' then a := act_get_health(q);
					when 'create_conversation' then a := act_create_conversation(q);
					when 'join' then a := act_join(q);
					when 'chat_message' then a := act_chat_message(q);
					when 'typing' then a := act_typing(q);
					when 'get_history' then a := act_get_history(q);
					when 'notify' then a := act_notify(q);
					when 'set_preferences' then a := act_set_preferences(q);
					when 'get_preferences' then a := act_get_preferences(q);
					when 'mark_read' then a := act_mark_read(q);
					when 'get_notifications' then a := act_get_notifications(q);
					when 'ack' then a := act_ack(q);
					when 'get_receipt' then a := act_get_receipt(q);
					when 'submit_feedback' then a := act_submit_feedback(q);
					when 'rate_feedback' then a := act_rate_feedback(q);
					when 'comment_feedback' then a := act_comment_feedback(q);
					when 'withdraw_feedback' then a := act_withdraw_feedback(q);
					when 'get_feedback' then a := act_get_feedback(q);
					when 'recommend' then a := act_recommend(q);
					when 'decide_recommendation' then a := act_decide_recommendation(q);
					when 'get_recommendations' then a := act_get_recommendations(q);
					when 'get_analytics' then a := act_get_analytics(q);
					when 'get_effectiveness' then a := act_get_effectiveness(q);
					when 'get_trending' then a := act_get_trending(q);
					when 'predict' then a := act_predict(q);
					when 'get_models' then a := act_get_models(q);
					else a := refusal('invalid', 'tidings.act() has no such type');
				end case;
				if a.outcome = 'ok' then
					perform quota_take(p_user, p_role, v_kib, p_daily_max);
				end if;
			end if;
			exit;
		exception
			when foreign_key_violation or unique_violation or deadlock_detected or serialization_failure then
				-- Another transaction was in between, and has what it wanted as soon as it runs.
				if v_turn = 3 then
					raise exception 'tidings: % meets other transactions again and again (%)', p_type, sqlstate
						using errcode = 'serialization_failure';
				end if;
				perform pg_sleep(0.02 * v_turn);
			when data_exception or check_violation or not_null_violation then
				-- A number that float8 cannot hold, a day that is in no calendar: of that nothing is done.
				a := refusal('invalid', 'A value is outside of what can be stored');
				exit;
		end;
	end loop;
	return query select a.outcome, a.detail, a.reply, a.topic, a.seq, a.clients;
end
$$;

--	p_key, p_hash	of the caller's; the hash is of what must be the same
--	outcome		also: key_reused, the same key came with another hash
--
-- What is refused leaves no trace: it may be tried again.
create or replace function tidings.act_once(p_user text, p_role text, p_connection text, p_type text, p_data json, p_correlation text,
	p_queue_max int8, p_queue_min_age_s int8, p_key text, p_hash text, p_require_user boolean default false, p_daily_max int8 default 0,
	p_predictions text default 'propose')
returns table (outcome text, detail text, reply text, topic text, seq int8, clients int8)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
	v_now timestamptz := clock_timestamp();
	v_known idempotency%rowtype;
begin
	insert into idempotency as known (caller, key, hash, of_user, created_at)
		values (p_user, p_key, p_hash, p_role not in ('service', 'admin'), v_now)
		on conflict on constraint idempotency_pkey do update
			set hash = excluded.hash, results = null, of_user = excluded.of_user, created_at = excluded.created_at
			where known.created_at < v_now - key_kept(known.of_user);
	if not found then
		select * into v_known from idempotency k where k.caller = p_user and k.key = p_key;
		if v_known.hash is distinct from p_hash then
			return query select 'key_reused', null::text, null::text, null::text, null::int8, null::int8;
		else
			return query select 'ok', null::text, v_known.results ->> 0, v_known.results ->> 1,
				(v_known.results ->> 2)::int8, (v_known.results ->> 3)::int8;
		end if;
		return;
	end if;

	if quota_holds(p_user, p_role, p_daily_max) then
		select a.outcome, a.detail, a.reply, a.topic, a.seq, a.clients
			into act_once.outcome, act_once.detail, act_once.reply, act_once.topic, act_once.seq, act_once.clients
			from act(p_user, p_role, p_connection, p_type, p_data, p_correlation, p_queue_max, p_queue_min_age_s, p_require_user, p_daily_max,
				p_predictions) a;
	else
		outcome := 'over_quota';
	end if;
	if outcome = 'ok' then
		perform quota_take(p_user, p_role, 1 + octet_length(act_once.reply) / 1024, p_daily_max);
		update idempotency k set results = jsonb_build_array(act_once.reply, act_once.topic, act_once.seq, act_once.clients)
			where k.caller = p_user and k.key = p_key;
	else
		delete from idempotency k where k.caller = p_user and k.key = p_key;
	end if;
	-- More than came, so it keeps up. Those that another is at can wait.
	delete from idempotency where ctid = any (array(
		select k.ctid from idempotency k where k.of_user and k.created_at < v_now - key_kept(true)
		order by k.created_at limit 16 for update skip locked));
	return next;
end
$$;
