-- How probable is it that this herb does this patient good, for this condition, and within which bounds (80 %)? Null success: nothing can be
-- said, and `reason` may tell why. Made when it is missing, and never touched again: replace it, to ask a model of your own, and name it.
create function tidings.predict_success(herb text, condition text, patient text, out success float8, out lower float8, out upper float8,
	out model text, out reason text)
language sql stable as $$
	select * from tidings.default_predict_success(herb, condition, patient)
$$;
