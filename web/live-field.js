/* live-field - what is wrong with a form's fields, beside them. */

const errorOf = (input) => document.getElementById(`${input.id}-error`);

/* Says it at `input`, for eyes and for ears. */
export function complain(input, message) {
	let error = errorOf(input);
	if (!error) {
		error = document.createElement("p");
		error.id = `${input.id}-error`;
		error.className = "error";
		(input.closest(".joined") ?? input).after(error);
	}
	error.textContent = message;
	input.setAttribute("aria-invalid", "true");
	const described = (input.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && id !== error.id);
	input.setAttribute("aria-describedby", [error.id, ...described].join(" "));
}

/* Nothing is wrong any more, as far as one knows. */
export function forgive(form) {
	for (const input of form.querySelectorAll("[aria-invalid]")) {
		const error = errorOf(input);
		input.removeAttribute("aria-invalid");
		const described = input.getAttribute("aria-describedby").split(" ").filter((id) => id !== error.id);
		if (described.length) input.setAttribute("aria-describedby", described.join(" "));
		else input.removeAttribute("aria-describedby");
		error.remove();
	}
}

/* The first that is wrong gets the focus. True when there is one. */
export function pointOut(form) {
	const first = form.querySelector("[aria-invalid]");
	first?.focus();
	return first !== null;
}
