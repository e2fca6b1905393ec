-- Whatever a client says that touches the database comes in here: from a WebSocket, by POST, or by a service's broadcast.

set local role tidings_owner;

-- One act in one transaction.
--
--	p_user, p_role	from the token
--	p_connection	the sender's, which does not get what it said itself; null by HTTP
--	p_data		its members, their kinds and lengths already seen to: here is decided what they mean and who may
--	p_correlation	the JSON text of its correlation_id, or null
--	p_require_user	refuse one who is not in tidings.app_user, or not active: a connection may outlive its account
--	outcome		ok | forbidden | not_found | invalid, with detail, a sentence, where it helps. As in verdict(), an ordinary
--			user is told the same for the second and the third
--	reply		the whole reply, when ok
--	topic …		of the message that was published, when one was; its seq is null when it is ephemeral or for later
--
-- Without bitmap scans pages are read in the order of their index, however large the tables have become since the plan was made.
create function tidings.act(p_user text, p_role text, p_connection text, p_type text, p_data json, p_correlation text,
	p_queue_max int8, p_queue_min_age_s int8, p_require_user boolean default false)
returns table (outcome text, detail text, reply text, topic text, seq int8, clients int8)
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
	q request := row(p_user, p_role, p_connection, p_data, p_correlation, p_queue_max, p_queue_min_age_s);
	a answer;
begin
	begin
		if p_user is null or p_require_user and not (user_active(array[p_user]))[1] then
			a := refusal('forbidden');
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
				else a := refusal('invalid', 'There is no such type');
			end case;
		end if;
	exception when data_exception or integrity_constraint_violation then
		-- A number that float8 cannot hold, a day that is in no calendar: of that nothing is done.
		a := refusal('invalid', 'A value is outside of what can be stored');
	end;
	return query select a.outcome, a.detail, a.reply, a.topic, a.seq, a.clients;
end
$$;

revoke execute on all functions in schema tidings from public;
grant execute on function tidings.act(text, text, text, text, json, text, int8, int8, boolean) to tidings_sidecar, tidings_publisher;

reset role;
