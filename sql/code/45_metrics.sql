-- What /metrics of the web server tells of the queue and of the tables: lines as Prometheus' text format has them. status.fcgi knows
-- their names, help texts and kinds (fcgi/metrics/queue_metrics.def), and leaves out what it does not know.
--
-- Made to be asked every few seconds on a large database: numbers of rows are the server's own estimates, and what has to be counted is
-- counted up to 100,000: for what no client has been sent, messages, and topics, the newest first.
create or replace function tidings.metrics() returns text
language plpgsql stable security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
	v_now timestamptz := clock_timestamp();
	v_outbox record;
	v_waiting record;
	v_scheduled int8;
	v_unacked record;
	v_trimmed record;
	v_snapshot timestamptz;
	v_lines text[];
begin
	select * into v_outbox from outbox_state();
	-- By id, topics lie beside each other in every index that is read.
	select count(*) as messages, coalesce(extract(epoch from v_now - min(w.created_at)), 0) as oldest_s into v_waiting from (
		select m.created_at from (select o.id, o.first_seq from topic o order by o.id desc limit 100000) t
		left join delivered d on d.topic_id = t.id
		cross join lateral (
			select o.created_at from message o
			where o.topic_id = t.id and o.seq > greatest(coalesce(d.seq, 0), t.first_seq - 1) and not o.revocation
				and (o.expires_at is null or o.expires_at > v_now)) m
		limit 100000) w;
	v_scheduled := (select count(*) from (
		select from outbox o where o.failed_at is null and o.deliver_at > v_now order by o.deliver_at limit 100000) s);
	select count(*) as count, coalesce(extract(epoch from v_now - min(n.sent_at)), 0) as oldest_s into v_unacked from (
		select a.sent_at from notification a
		where a.priority = 'critical' and a.acked_at is null and a.sent_at is not null limit 100000) n;
	select sum(t.messages) filter (where t.reason = 'age') as aged, sum(t.messages) filter (where t.reason = 'expired') as expired into v_trimmed
		from trimmed t;
	-- Of other roles' sessions the server tells when they began to whoever is in pg_read_all_stats alone.
	v_snapshot := least(
		(select min(a.xact_start) from pg_stat_activity a where a.pid <> pg_backend_pid() and (a.backend_xmin is not null or a.backend_xid is not null)),
		(select min(p.prepared) from pg_prepared_xacts p));

	v_lines := array[
		'tidings_queue_bytes ' || pg_table_size('message'),
		'tidings_queue_messages ' || pg_stat_get_live_tuples('message'::regclass),
		'tidings_queue_topics ' || pg_stat_get_live_tuples('topic'::regclass),
		'tidings_queue_undelivered_messages ' || v_waiting.messages,
		'tidings_queue_oldest_undelivered_seconds ' || v_waiting.oldest_s,
		'tidings_trimmed_messages_total{reason="count"} ' || greatest(0, pg_stat_get_tuples_deleted('message'::regclass) - v_trimmed.aged - v_trimmed.expired),
		'tidings_trimmed_messages_total{reason="age"} ' || v_trimmed.aged,
		'tidings_trimmed_messages_total{reason="expired"} ' || v_trimmed.expired,
		'tidings_outbox_messages{state="due"} ' || v_outbox.messages,
		'tidings_outbox_messages{state="scheduled"} ' || v_scheduled,
		'tidings_outbox_messages{state="failed"} ' || v_outbox.failed,
		'tidings_outbox_oldest_due_seconds ' || v_outbox.oldest_s,
		'tidings_notifications_unacked{priority="critical"} ' || v_unacked.count,
		'tidings_notifications_oldest_unacked_seconds{priority="critical"} ' || v_unacked.oldest_s,
		'tidings_feedback_total ' || pg_stat_get_tuples_inserted('feedback'::regclass),
		'tidings_analyst_lag_seconds ' || analyst_lag(),
		'tidings_nodes_live ' || live_nodes(),
		'tidings_notify_queue_ratio ' || pg_notification_queue_usage(),
		'tidings_schema_version ' || (select coalesce(max(a.version), 0) from applied() a),
		'tidings_oldest_snapshot_seconds ' || coalesce(extract(epoch from v_now - v_snapshot), 0)];
	v_lines := v_lines || array(
		select format('tidings_node_heartbeat_age_seconds{node="%s"} %s', n.id, extract(epoch from v_now - n.heartbeat_at))
		from node n order by n.started_at limit 100);
	v_lines := v_lines || array(
		select format('tidings_table_bytes{table="%s"} %s', c.relname, coalesce(pg_total_relation_size(c.oid), 0)) -- null: dropped meanwhile
		from pg_class c where c.relnamespace = 'tidings'::regnamespace and c.relkind = 'r' order by c.relname);
	return array_to_string(v_lines || array(
		select format('tidings_table_dead_rows{table="%s"} %s', c.relname, pg_stat_get_dead_tuples(c.oid))
		from pg_class c where c.relnamespace = 'tidings'::regnamespace and c.relkind = 'r' order by c.relname), E'\n');
end
$$;
