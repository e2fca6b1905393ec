-- Who may open another live-health connection.

set local role tidings_owner;

-- Lets a live-health connection in, and writes it down (on topic 0: it stands for itself), unless its user has p_max of them over
-- all nodes that live. One connection of a user at a time: so of those that come at once, to several nodes, no more than p_max get in.
--
--	p_require_user	refuse one who is not in tidings.app_user, or not active
--	returns		ok | no_user | too_many
create function tidings.admit(p_node text, p_user text, p_connection text, p_transport text, p_connected_at text,
	p_require_user boolean, p_max int8) returns text
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	perform set_config('synchronous_commit', 'off', true);
	perform pg_advisory_xact_lock(hashtextextended('tidings.admit ' || p_user, 0));
	if p_require_user and not (user_active(array[p_user]))[1] then
		return 'no_user';
	elsif (
		select count(*) from connection c
		where c.user_id = p_user and c.topic_id = 0 and c.node_id = any (array(
			select n.id from node n where n.heartbeat_at > clock_timestamp() - interval '15 seconds'))) >= p_max
	then
		return 'too_many';
	end if;
	-- Whoever buries the dead locks them: so it never meets this one half way.
	perform from node n where n.id = p_node::uuid for key share;
	insert into connection (id, node_id, topic_id, user_id, transport, connected_at)
		values (p_connection::uuid, p_node::uuid, 0, p_user, p_transport, p_connected_at::timestamptz)
		on conflict do nothing;
	return 'ok';
end
$$;

revoke execute on all functions in schema tidings from public;
grant execute on function tidings.admit(text, text, text, text, text, boolean, int8) to tidings_sidecar;

reset role;
