-- A connection may listen to several topics: it has a row for each in tidings.connection.

set local role tidings_owner;

alter table tidings.connection drop constraint connection_pkey, add primary key (id, topic_id);

drop function tidings.flush(text, int8[], int8[], text[], int8[], text[], text[], text[], text[], int8[], int8[], int8[], int8[], int8);

-- Whatever a node has to write down, in one call: what is in it is safe to write twice.
--
--	p_presence …	topics whose number of clients changed, and that number; 0: none any more
--	p_opened …	subscriptions that are new: each a connection, and a topic of it
--	p_closed …	subscriptions that are gone; one that is opened too is there again
--	p_delivered …	how far some client has been sent, per topic
--	p_sent …	messages for one user alone that have been sent
--	p_opened_ever	connections since the node's start
create function tidings.flush(
	p_node text, p_presence int8[], p_clients int8[],
	p_opened text[], p_opened_topics int8[], p_opened_users text[], p_opened_transports text[], p_opened_at text[],
	p_closed text[], p_closed_topics int8[], p_delivered int8[], p_delivered_seqs int8[], p_sent int8[], p_sent_seqs int8[], p_opened_ever int8) returns void
language plpgsql security definer
set search_path = tidings, pg_temp
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
	-- None of it is a promise to anyone: after a crash a message may be sent twice, never lost.
	perform set_config('synchronous_commit', 'off', true);

	-- Whoever buries the dead locks them: so it never meets this one half way.
	perform from node where id = p_node::uuid for key share;
	update node set opened = p_opened_ever where id = p_node::uuid and opened < p_opened_ever;

	if cardinality(p_presence) > 0 then
		insert into presence as p (topic_id, node_id, clients)
			select i.topic_id, p_node::uuid, i.clients from unnest(p_presence, p_clients) as i(topic_id, clients) where i.clients > 0
			order by i.topic_id
			on conflict on constraint presence_pkey do update set clients = excluded.clients;
		delete from presence where node_id = p_node::uuid and topic_id = any (array(
			select i.topic_id from unnest(p_presence, p_clients) as i(topic_id, clients) where i.clients = 0));
	end if;
	-- Before what is new: of those that were given up and taken again meanwhile, the later counts.
	if cardinality(p_closed) > 0 then
		-- "+ 0": never by the index of topics. All live connections have a row of topic 0, and where the planner took the table for
		-- empty it read all of those for each that closed.
		delete from connection where ctid = any (array(
			select c.ctid from (
				select q.id, array_agg(q.topic_id) as topics from unnest(p_closed, p_closed_topics) as q(id, topic_id) group by q.id) i,
			lateral (select o.ctid from connection o where o.id = i.id::uuid and o.topic_id + 0 = any (i.topics) offset 0) c));
	end if;
	if cardinality(p_opened) > 0 then
		insert into connection (id, node_id, topic_id, user_id, transport, connected_at)
			select i.id::uuid, p_node::uuid, i.topic_id, i.user_id, i.transport, i.connected_at::timestamptz
			from unnest(p_opened, p_opened_topics, p_opened_users, p_opened_transports, p_opened_at)
				as i(id, topic_id, user_id, transport, connected_at)
			on conflict do nothing;
	end if;
	if cardinality(p_delivered) > 0 then
		insert into delivered as d (topic_id, seq)
			select i.topic_id, i.seq from unnest(p_delivered, p_delivered_seqs) as i(topic_id, seq) order by i.topic_id
			on conflict on constraint delivered_pkey do update set seq = excluded.seq where d.seq < excluded.seq;
	end if;
	if cardinality(p_sent) > 0 then
		-- Skipping what is locked, being trimmed or marked by another node, it waits for nobody with locks in hand.
		update message set sent = true where ctid = any (array(
			select m.ctid from unnest(p_sent, p_sent_seqs) as i(topic_id, seq), lateral (
				select o.ctid from message o where o.topic_id = i.topic_id and o.seq = i.seq and not o.sent
				for update skip locked) m));
	end if;
end
$$;

revoke execute on all functions in schema tidings from public;
grant execute on function tidings.flush(text, int8[], int8[], text[], int8[], text[], text[], text[], text[], int8[], int8[], int8[],
	int8[], int8[], int8) to tidings_sidecar;

reset role;
