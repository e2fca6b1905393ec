-- Which recommendations of this diagnosis that are in force should be replaced, and by what? It changes nothing: what it says is proposed, or
-- done where the operator wants that (TIDINGS_PREDICTIONS). Made when it is missing, and never touched again: replace it, to ask a model of
-- your own.
create function tidings.update_recommendations(diagnosis bigint)
returns table (recommendation_id bigint, herb text, condition text, data jsonb, probability float8, reason text, model text)
language sql stable as $$
	select * from tidings.default_update_recommendations(diagnosis)
$$;
