-- What could be recommended to the patient of this diagnosis, the best first? What is contraindicated is left out of it, whatever it says. Made
-- when it is missing, and never touched again: replace it, to ask a model of your own.
create function tidings.generate_recommendations(diagnosis bigint, "limit" int)
returns table (herb text, condition text, success float8, lower float8, upper float8, model text)
language sql stable as $$
	select * from tidings.default_generate_recommendations(diagnosis, "limit")
$$;
