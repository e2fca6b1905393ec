-- Who may call what. Whatever is not named here nobody may call but the owner: after a restore without rights too, which leaves functions
-- to everybody and the schema to nobody.

alter default privileges for role tidings_owner revoke execute on functions from public;
grant usage on schema tidings to tidings_publisher, tidings_reader, tidings_status, tidings_sidecar;

do $$
declare
	v_function regprocedure;
begin
	-- Those of code/ alone: what this transaction has written is taken for that.
	for v_function in select p.oid from pg_proc p where p.pronamespace = 'tidings'::regnamespace and p.xmin = pg_current_xact_id()::xid loop
		execute format('revoke execute on function %s from public', v_function);
	end loop;
end
$$;

grant execute on function tidings.publish_batch, tidings.act, tidings.act_size, tidings.act_once, tidings.user_active, tidings.disconnect,
	tidings.reconnect_user, tidings.ask_reports, tidings.ask_slow, tidings.connection_health, tidings.connections, tidings.drain, tidings.topics, tidings.outbox_list,
	tidings.outbox_retry, tidings.outbox_drop, tidings.revoke, tidings.roster_page, tidings.devices, tidings.forget_device to tidings_publisher;

grant execute on function tidings.history, tidings.applied to tidings_reader;

grant execute on function tidings.status, tidings.metrics, tidings.live_nodes, tidings.outbox_state, tidings.commit_works, tidings.applied, tidings.topics to tidings_status;

grant execute on function tidings.listen, tidings.attach, tidings.fetch, tidings.unsent, tidings.flush, tidings.rosters, tidings.heartbeat, tidings.moved, tidings.farewell, tidings.relay, tidings.analyse,
	tidings.sweep, tidings.retain, tidings.act, tidings.act_size, tidings.user_active, tidings.redeliver, tidings.report, tidings.admit, tidings.outbox_state, tidings.tell_operations,
	tidings.applied to tidings_sidecar;
