-- Recommendations: what is recommended to the patient of a diagnosis, for a condition. One of a person's who may publish to the diagnosis is in
-- force at once; one of a machine (a service) is proposed, until a person, or a service that an operator trusts with it, decides.
--
--	proposed -> active | declined | withdrawn
--	active -> replaced (by another that becomes active) | withdrawn

-- What a recommendation says, as messages have it; of none: nothing.
create or replace function tidings.recommendation_says(r tidings.recommendation) returns jsonb
language sql immutable as $$
	select case when r.id is null then '{}' else r.data || jsonb_build_object('herb', r.herb) end
$$;

create or replace function tidings.recommendation_json(r tidings.recommendation) returns json
language plpgsql stable as $$
begin
	return compact((
		select row_to_json(d) from (select r.id as recommendation_id, r.herb, r.condition, r.data, r.status, r.reason, r.source, r.replaces,
			prediction_json(r, patient_of(r.diagnosis_id)) as prediction,
			stamp(r.created_at) as created_at, stamp(r.decided_at) as decided_at, user_json(r.decided_by) as decided_by) d)::text)::json;
end
$$;

-- The members that differ, or that only one has: in the order of the new one, then those that are gone. As in src/domain/input/broadcast.c.
create or replace function tidings.changed_members(p_old jsonb, p_new jsonb) returns text[]
language sql immutable as $$
	select array(select k from jsonb_object_keys(p_new) as k where p_old -> k is distinct from p_new -> k)
		|| array(select k from jsonb_object_keys(p_old) as k where not p_new ? k)
$$;

-- Tells of a recommendation, and answers the request that made it what it is.
create or replace function tidings.tell_recommendation(q tidings.request, r tidings.recommendation, p_type text, p_data json, p_answer text, p_status text)
returns tidings.answer
language plpgsql as $$
declare
	v_topic text := 'diagnosis/' || r.diagnosis_id;
	v_put record;
begin
	select p.seqs[1] as seq, p.clients[1] as clients into v_put from put(q, array[v_topic],
		array[message_text(p_type, v_topic, q.correlation, 'data', compact(p_data::text)::json)], array[null::text]) p;
	return answered(q, p_answer, (
		select row_to_json(d) from (select p_status as status, r.id as recommendation_id, v_put.seq, v_put.clients as clients_notified) d),
		v_topic, v_put.seq, v_put.clients);
end
$$;

-- One is in force instead of another, or none any more (spec 3.1).
create or replace function tidings.tell_change(q tidings.request, r tidings.recommendation, p_old jsonb, p_new jsonb, p_reason text, p_answer text,
	p_status text) returns tidings.answer
language plpgsql as $$
begin
	return tell_recommendation(q, r, 'recommendation_update', (
		select row_to_json(d) from (select r.id as recommendation_id, r.status, r.replaces, p_old as old_recommendation,
			p_new as new_recommendation, coalesce(p_reason, '') as reason, changed_members(p_old, p_new) as changed_fields,
			stamp(clock_timestamp()) as timestamp) d), p_answer, p_status);
end
$$;

-- A recommendation, locked; no row: there is none. Others hold it no longer than a commit, unless an operator's own transaction does.
create or replace function tidings.lock_recommendation(p_id int8) returns setof tidings.recommendation
language plpgsql set lock_timeout = '250ms' as $$
begin
	return query select * from recommendation r where r.id = p_id for update;
end
$$;

-- The one that is in force is replaced: what it said. Null: it is not in force any more.
create or replace function tidings.replace_recommendation(p_id int8, p_diagnosis int8, p_user text) returns jsonb
language plpgsql as $$
declare
	v_old tidings.recommendation%rowtype;
begin
	select * into v_old from lock_recommendation(p_id) r where r.diagnosis_id = p_diagnosis and r.status = 'active';
	if not found then
		return null;
	end if;
	update recommendation r set status = 'replaced', decided_at = clock_timestamp(), decided_by = p_user where r.id = p_id;
	return recommendation_says(v_old);
end
$$;

create or replace function tidings.act_recommend(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_diagnosis int8 := q.data ->> 'diagnosis_id';
	v_replaces int8 := q.data ->> 'replaces';
	v_data json := coalesce(q.data -> 'data', '{}');
	v_verdict text := verdict(q.user_id, q.role, 'diagnosis/' || v_diagnosis, 'publish');
	v_proposed boolean := q.role = 'service';
	v_old jsonb := '{}';
	v_new tidings.recommendation%rowtype;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	elsif patient_of(v_diagnosis) is null then
		return refusal('not_found');
	elsif octet_length(v_data::text) > 16384 then
		return refusal('invalid_member', 'data is larger than 16 KiB');
	elsif v_data::text ~ '[0-9][eE][+-]?0*[1-9][0-9]{2}' then
		return refusal('invalid_member', 'data has a number from 1e100 on, or below 1e-99'); -- jsonb would write each of its digits
	elsif (
		select count(*) from recommendation r where r.diagnosis_id = v_diagnosis and r.status in ('proposed', 'active')) >= 100
	then
		return refusal('invalid', 'There are 100 recommendations in force or proposed already');
	elsif v_replaces is not null then
		if v_proposed then
			v_old := (select '{}'::jsonb from recommendation r where r.id = v_replaces and r.diagnosis_id = v_diagnosis and r.status = 'active');
		else
			v_old := replace_recommendation(v_replaces, v_diagnosis, q.user_id);
		end if;
		if v_old is null then
			return refusal('invalid_member', 'replaces is not a recommendation of this diagnosis that is in force');
		end if;
	end if;
	insert into recommendation as r (diagnosis_id, condition, herb, data, status, replaces, reason, source, decided_at, decided_by)
		values (v_diagnosis, q.data ->> 'condition', q.data ->> 'herb', v_data, case when v_proposed then 'proposed' else 'active' end, v_replaces,
			nullif(q.data ->> 'reason', ''), q.role, case when not v_proposed then clock_timestamp() end, case when not v_proposed then q.user_id end)
		returning * into v_new;
	if v_proposed then
		return tell_recommendation(q, v_new, 'recommendation_proposed', (
			select row_to_json(d) from (select v_new.id as recommendation_id, v_new.replaces, v_new.herb, v_new.condition, v_new.data,
				v_new.source, coalesce(v_new.reason, '') as reason, stamp(clock_timestamp()) as timestamp) d), 'recommended', 'recommended');
	end if;
	return tell_change(q, v_new, v_old, recommendation_says(v_new), v_new.reason, 'recommended', 'recommended');
end
$$;

create or replace function tidings.act_decide_recommendation(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_id int8 := q.data ->> 'recommendation_id';
	v_status text := q.data ->> 'status';
	v_reason text := q.data ->> 'reason';
	v_was tidings.recommendation%rowtype;
	v_verdict text;
	v_old jsonb := '{}';
	v_new tidings.recommendation%rowtype;
begin
	if v_status not in ('active', 'declined', 'withdrawn') then
		return refusal('invalid_member', 'status must be active, declined or withdrawn');
	end if;
	select * into v_was from lock_recommendation(v_id);
	if not found then
		return refusal('not_found');
	end if;
	v_verdict := verdict(q.user_id, q.role, 'diagnosis/' || v_was.diagnosis_id, 'publish');
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	elsif v_was.status <> 'proposed' and not (v_was.status = 'active' and v_status = 'withdrawn') then
		return refusal('settled', 'This recommendation is ' || v_was.status || ' already');
	elsif v_status = 'active' and v_was.replaces is not null then
		v_old := replace_recommendation(v_was.replaces, v_was.diagnosis_id, q.user_id);
		if v_old is null then
			return refusal('settled', 'What this recommendation would replace is not in force any more');
		end if;
	end if;
	update recommendation r set status = v_status, decided_at = clock_timestamp(), decided_by = q.user_id where r.id = v_id returning * into v_new;
	if v_status = 'active' then
		return tell_change(q, v_new, v_old, recommendation_says(v_new), coalesce(nullif(v_reason, ''), v_new.reason), 'recommendation_decided', 'decided');
	elsif v_was.status = 'active' then
		return tell_change(q, v_new, recommendation_says(v_was), '{}', v_reason, 'recommendation_decided', 'decided');
	end if;
	return tell_recommendation(q, v_new, 'recommendation_declined', (
		select row_to_json(d) from (select v_id as recommendation_id, v_status as status, coalesce(v_reason, '') as reason,
			stamp(clock_timestamp()) as timestamp) d), 'recommendation_decided', 'decided');
end
$$;

-- The newest recommendations, or those before one; newest first. more: there are older ones. In one statement: the cursor is of what it shows.
create or replace function tidings.act_get_recommendations(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_diagnosis int8 := q.data ->> 'diagnosis_id';
	v_status text := q.data ->> 'status';
	v_before int8 := coalesce((q.data ->> 'before')::int8, 9223372036854775807);
	v_limit int8 := least(greatest(coalesce((q.data ->> 'limit')::int8, 50), 1), 100);
	v_verdict text := verdict(q.user_id, q.role, 'diagnosis/' || v_diagnosis, 'subscribe');
	v_data json;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	elsif v_status not in ('proposed', 'active', 'replaced', 'declined', 'withdrawn') then
		return refusal('invalid_member', 'status must be proposed, active, replaced, declined or withdrawn');
	end if;
	select row_to_json(d) into v_data from (
		select v_diagnosis as diagnosis_id, cursor('diagnosis/' || v_diagnosis) as cursor,
			coalesce(json_agg(recommendation_json(p.row) order by p.id desc) filter (where p.place <= v_limit), '[]') as recommendations,
			coalesce(max(p.place) > v_limit, false) as more
		from (
			select o as row, o.id, row_number() over (order by o.id desc) as place
			from recommendation o
			where o.diagnosis_id = v_diagnosis and o.id < v_before and (v_status is null or o.status = v_status)
			order by o.id desc limit v_limit + 1) p) d;
	return answered(q, 'recommendations', v_data);
end
$$;
