-- Feedback: how somebody fares with what is recommended to them. It is said by whoever may read the diagnosis, and by services; it is about
-- the patient, who is the owner of the diagnosis at that moment. What was said of another owner's outcome nobody is shown any more.
--
-- Each change and the message that tells of it are one transaction, and each leaves the row to be counted anew (folded).

-- The right to say something of a diagnosis is that to read it; a service writes, and reads nothing.
create or replace function tidings.feedback_verdict(q tidings.request, p_diagnosis int8) returns text
language plpgsql stable as $$
begin
	return verdict(q.user_id, q.role, 'diagnosis/' || p_diagnosis, case q.role when 'service' then 'publish' else 'subscribe' end);
end
$$;

-- The owner of a diagnosis; null: there is none.
create or replace function tidings.patient_of(p_diagnosis int8) returns text
language plpgsql stable as $$
begin
	return (select d.owner from diagnosis d where d.id = p_diagnosis);
end
$$;

-- What a rating says of effectiveness where nobody said more.
create or replace function tidings.rating_effectiveness(p_rating int8) returns numeric
language sql immutable as $$
	select (p_rating - 1) / 4.0
$$;

create or replace function tidings.feedback_json(f tidings.feedback) returns json
language plpgsql stable as $$
begin
	return (
		select json_strip_nulls(row_to_json(d)) from (select f.id as feedback_id, f.recommendation_id, user_json(f.user_id) as user_id, f.rating,
			trim_scale(f.effectiveness) as effectiveness, f.comment, stamp(f.created_at) as created_at, stamp(f.edited_at) as edited_at) d);
end
$$;

-- Tells of feedback as it is now, and answers the request that made it so.
create or replace function tidings.tell_feedback(q tidings.request, f tidings.feedback, p_answer text, p_status text) returns tidings.answer
language plpgsql as $$
declare
	v_topic text := 'diagnosis/' || f.diagnosis_id;
	v_put record;
begin
	-- Its user_id is where forget() and erase_told() look for it.
	select p.seqs[1] as seq, p.clients[1] as clients into v_put from put(q, array[v_topic], array[message_text('feedback_update', v_topic, q.correlation, 'data', (
		select json_strip_nulls(row_to_json(d)) from (select f.id as feedback_id, user_json(f.user_id) as user_id, f.recommendation_id, f.rating,
			trim_scale(f.effectiveness) as effectiveness, f.comment, case when f.edited_at is not null then true end as edited,
			case when f.withdrawn_at is not null then true end as withdrawn, stamp(clock_timestamp()) as timestamp) d))],
		array[null::text]) p;
	return answered(q, p_answer, (
		select json_strip_nulls(row_to_json(d)) from (select p_status as status, f.id as feedback_id, f.diagnosis_id, f.recommendation_id, f.rating,
			trim_scale(f.effectiveness) as effectiveness, v_put.seq, v_put.clients as clients_notified) d), v_topic, v_put.seq, v_put.clients);
end
$$;

-- What messages that are kept say of feedback that is withdrawn goes: with an end in the past they are passed over.
create or replace function tidings.erase_told(f tidings.feedback, p_before int8) returns void
language plpgsql as $$
begin
	update message m set body = '', expires_at = '-infinity'
		where m.topic_id = (select t.id from topic t where t.name = 'diagnosis/' || f.diagnosis_id) and m.seq < p_before
			and strpos(m.body, '"data":{"feedback_id":' || f.id || ',"user_id":') > 0;
end
$$;

create or replace function tidings.act_submit_feedback(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_diagnosis int8 := q.data ->> 'diagnosis_id';
	v_recommendation int8 := q.data ->> 'recommendation_id';
	v_user text := coalesce(q.data ->> 'user_id', q.user_id);
	v_rating int8 := q.data ->> 'rating';
	v_patient text := patient_of(v_diagnosis);
	v_verdict text := feedback_verdict(q, v_diagnosis);
	v_new tidings.feedback%rowtype;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	elsif v_user <> q.user_id and q.role not in ('service', 'admin') then
		return refusal('forbidden');
	elsif v_patient is null then
		return refusal('not_found');
	elsif q.role = 'service' and q.data ->> 'user_id' is null then
		return refusal('invalid_member', 'user_id is required of a service: whose feedback is it?');
	elsif q.require_user and v_user <> q.user_id and not account_holds(v_user, 'user') then
		return refusal('invalid_member', 'user_id has no active account');
	elsif v_recommendation is not null and not exists (
		select from recommendation r where r.id = v_recommendation and r.diagnosis_id = v_diagnosis)
	then
		return refusal('invalid_member', 'recommendation_id is not a recommendation of this diagnosis');
	end if;
	insert into feedback as f (diagnosis_id, recommendation_id, user_id, patient, rating, effectiveness, said, comment)
		values (v_diagnosis, v_recommendation, v_user, v_patient, v_rating,
			coalesce((q.data ->> 'effectiveness')::numeric, rating_effectiveness(v_rating)), q.data -> 'effectiveness' is not null,
			nullif(q.data ->> 'comment', ''))
		returning * into v_new;
	return tell_feedback(q, v_new, 'feedback_submitted', 'feedback submitted');
end
$$;

-- The feedback that a request is about, locked. Others hold it no longer than a commit, unless an operator's own transaction does.
create or replace function tidings.lock_feedback(q tidings.request) returns setof tidings.feedback
language plpgsql set lock_timeout = '250ms' as $$
begin
	return query select * from feedback f where f.id = (q.data ->> 'feedback_id')::int8 for update;
end
$$;

-- Why a request must not change feedback: of all outcomes but null. It is for whoever wrote it, and for admins.
--
--	p_edit	its user has to be one who may read the diagnosis, and that has to be the same patient's
create or replace function tidings.feedback_refusal(q tidings.request, f tidings.feedback, p_edit boolean) returns tidings.answer
language plpgsql stable as $$
declare
	v_verdict text := 'ok';
begin
	if f.id is null then
		return refusal('not_found');
	elsif q.role <> 'admin' and f.user_id <> q.user_id then
		return refusal('forbidden');
	end if;
	if p_edit then
		v_verdict := feedback_verdict(q, f.diagnosis_id);
		if v_verdict = 'ok' and f.patient is distinct from patient_of(f.diagnosis_id) then
			v_verdict := 'not_found';
		end if;
	end if;
	if v_verdict = 'ok' and f.withdrawn_at is not null then
		return refusal('settled', 'This feedback is withdrawn');
	end if;
	return refusal(nullif(v_verdict, 'ok'));
end
$$;

create or replace function tidings.act_rate_feedback(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_rating int8 := q.data ->> 'rating';
	v_effectiveness numeric := q.data ->> 'effectiveness';
	v_new tidings.feedback%rowtype;
	v_refusal tidings.answer;
begin
	select * into v_new from lock_feedback(q);
	v_refusal := feedback_refusal(q, v_new, true);
	if v_refusal.outcome is not null then
		return v_refusal;
	end if;
	update feedback f set rating = v_rating, said = f.said or v_effectiveness is not null,
			effectiveness = coalesce(v_effectiveness, case when f.said then f.effectiveness end, rating_effectiveness(v_rating)),
			edited_at = clock_timestamp(), folded = false
		where f.id = v_new.id returning * into v_new;
	return tell_feedback(q, v_new, 'feedback_updated', 'feedback updated');
end
$$;

-- An empty comment takes away the one that there is.
create or replace function tidings.act_comment_feedback(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_new tidings.feedback%rowtype;
	v_refusal tidings.answer;
begin
	select * into v_new from lock_feedback(q);
	v_refusal := feedback_refusal(q, v_new, true);
	if v_refusal.outcome is not null then
		return v_refusal;
	end if;
	update feedback f set comment = nullif(q.data ->> 'comment', ''), edited_at = clock_timestamp()
		where f.id = v_new.id returning * into v_new;
	return tell_feedback(q, v_new, 'feedback_updated', 'feedback updated');
end
$$;

-- Whoever may not read the diagnosis any more may still take back what is their own. Where it is another patient's now, or nobody's,
-- nobody is told.
create or replace function tidings.act_withdraw_feedback(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_new tidings.feedback%rowtype;
	v_answer tidings.answer;
begin
	select * into v_new from lock_feedback(q);
	v_answer := feedback_refusal(q, v_new, false);
	if v_answer.outcome is not null then
		return v_answer;
	end if;
	update feedback f set withdrawn_at = clock_timestamp(), comment = null, folded = false where f.id = v_new.id returning * into v_new;
	if v_new.patient is distinct from patient_of(v_new.diagnosis_id) then
		return answered(q, 'feedback_withdrawn', json_build_object('status', 'feedback withdrawn', 'feedback_id', v_new.id, 'seq', null,
			'clients_notified', 0));
	end if;
	v_answer := tell_feedback(q, v_new, 'feedback_withdrawn', 'feedback withdrawn');
	perform erase_told(v_new, v_answer.seq);
	return v_answer;
end
$$;

-- The newest feedback, or that before one; newest first. more: there is older. In one statement: the cursor is of what it shows.
create or replace function tidings.act_get_feedback(q tidings.request) returns tidings.answer
language plpgsql as $$
declare
	v_diagnosis int8 := q.data ->> 'diagnosis_id';
	v_recommendation int8 := q.data ->> 'recommendation_id';
	v_before int8 := coalesce((q.data ->> 'before')::int8, 9223372036854775807);
	v_limit int8 := least(greatest(coalesce((q.data ->> 'limit')::int8, 50), 1), 100);
	v_verdict text := verdict(q.user_id, q.role, 'diagnosis/' || v_diagnosis, 'subscribe');
	v_data json;
begin
	if v_verdict <> 'ok' then
		return refusal(v_verdict);
	end if;
	select row_to_json(d) into v_data from (
		select v_diagnosis as diagnosis_id, cursor('diagnosis/' || v_diagnosis) as cursor,
			coalesce(json_agg(feedback_json(p.row) order by p.id desc) filter (where p.place <= v_limit), '[]') as feedback,
			coalesce(max(p.place) > v_limit, false) as more
		from (
			select o as row, o.id, row_number() over (order by o.id desc) as place
			from feedback o
			where o.diagnosis_id = v_diagnosis and o.id < v_before and o.withdrawn_at is null and o.patient = patient_of(v_diagnosis)
				and (v_recommendation is null or o.recommendation_id = v_recommendation)
			order by o.id desc limit v_limit + 1) p) d;
	return answered(q, 'feedback', v_data);
end
$$;
